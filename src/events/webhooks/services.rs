//! What the deliveries of a node share, and where the messages of a webhook go.

use std::collections::HashMap;
use std::sync::Arc;

use super::client::WebhookClient;
use super::registry::{DeclaredWebhooks, WebhookRegistry};
use super::settings::{SigningSecrets, WebhookSettings, WebhookTypes};
use super::url::WebhookUrl;
use crate::domain::{App, AppId, EventPlace, InstallationKey, ServedApps, WebhookName, WebhookSecret};
use crate::events::{DeviceDetail, EventReader};
use crate::queue::node_lease::NodeLease;
use crate::store::webhooks::{self, ClaimScope, LeasedWebhook, StoredWebhook, WebhookSource};
use crate::store::{self, Session, SessionPool};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::trace::Tracer;

/// What the deliveries of a node share.
#[derive(Debug)]
pub struct WebhookServices {
    /// Connections of what observes.
    pub pool: SessionPool,
    /// The lease of this node, under which it holds webhooks.
    pub node_lease: Arc<NodeLease>,
    /// The name of this node, for operators.
    pub node_name: String,
    /// Reads the log.
    pub reader: EventReader,
    /// The webhooks of the configuration.
    pub registry: Arc<WebhookRegistry>,
    /// The apps that this node serves.
    pub apps: Arc<ServedApps>,
    /// Makes public ids.
    pub installation: InstallationKey,
    /// Counts attempts and their times.
    pub metrics: Arc<Metrics>,
    /// Takes the spans of attempts.
    pub tracer: Tracer,
}

/// Where messages go.
#[derive(Clone, Debug)]
pub struct WebhookTarget {
    /// What the webhook is.
    pub settings: WebhookSettings,
    /// Posts its messages.
    pub client: WebhookClient,
}

impl WebhookServices {
    pub(super) async fn claim(
        &self,
        scope: &ClaimScope,
        room: usize,
    ) -> Result<Vec<LeasedWebhook>, store::Error> {
        let mut conn = self.session().await?;
        let room = i64::try_from(room).unwrap_or(i64::MAX);
        webhooks::claim(&mut conn, self.node_lease.id(), scope, room).await
    }

    /// Enters the webhooks of the configuration anew, so that their rows are not taken for those of another one.
    pub(super) async fn enter(&self) {
        let entered = match self.session().await {
            Ok(mut conn) => enter(&mut conn, &self.registry.declared()).await,
            Err(error) => Err(error),
        };
        if let Err(error) = entered {
            tracing::debug!(%error, "webhooks are entered again in an hour");
        }
    }

    pub(super) async fn session(&self) -> Result<Session, store::Error> {
        Ok(self.pool.acquire().await?)
    }

    /// Where the messages of a leased webhook go. The inner error says why this node can't serve it.
    pub(super) async fn target_of(
        &self,
        app: &App,
        held: &LeasedWebhook,
    ) -> Result<Result<WebhookTarget, String>, store::Error> {
        let stored = match held.source {
            WebhookSource::Config => None,
            WebhookSource::Api => webhooks::find(&mut self.session().await?, held.app, held.id).await?,
        };
        Ok(self.registry.target(app, &held.name, stored.as_ref()))
    }
}

impl WebhookRegistry {
    /// Where the messages of a webhook go. `stored`: the row of one that the API made.
    ///
    /// # Errors
    /// Why this node can't serve it.
    pub fn target(
        &self,
        app: &App,
        name: &str,
        stored: Option<&StoredWebhook>,
    ) -> Result<WebhookTarget, String> {
        let settings = match stored.filter(|stored| stored.source == WebhookSource::Api) {
            None => self.find(app.id, name).ok_or("it is not in the configuration of this node")?,
            Some(stored) => {
                let settings = stored_settings(stored).ok_or("a later version has stored its settings")?;
                if !self.allows_host(app.id, &settings.url.host()) {
                    return Err(format!("its host is not in apps.{}.webhook_hosts", app.name));
                }
                settings
            }
        };
        let client = self.client(app.id, &settings).map_err(|error| error.to_string())?;
        Ok(WebhookTarget { settings, client })
    }
}

/// Makes the rows of the webhooks of a configuration that are missing. A new webhook gets what is logged from now on.
///
/// # Errors
/// Postgres is out of reach.
pub async fn enter(
    conn: &mut Session,
    declared: &HashMap<AppId, DeclaredWebhooks>,
) -> Result<(), store::Error> {
    let of_app = |(app, of): (&AppId, &DeclaredWebhooks)| {
        let names = of.webhooks.iter().map(|webhook| webhook.name.as_str().to_owned());
        let app = *app;
        names.map(move |name| (app, name)).collect::<Vec<_>>()
    };
    let names: Vec<_> = declared.iter().flat_map(of_app).collect();
    if names.is_empty() {
        return Ok(());
    }
    let head = EventPlace::behind(store::events::head(conn).await?);
    for (app, webhook) in webhooks::ensure_declared(conn, &names, head).await? {
        tracing::warn!(
            app = app.0,
            webhook,
            hint = "delete the webhook of the API, or choose another name",
            "a webhook of the configuration is not served, because the API has made one of its name"
        );
    }
    Ok(())
}

/// The settings of a webhook that the API made. None: a later version stored them.
pub fn stored_settings(stored: &StoredWebhook) -> Option<WebhookSettings> {
    let devices = stored.devices.as_deref()?;
    let secrets = stored
        .secrets
        .iter()
        .map(|(bytes, ends)| Some((WebhookSecret::from_bytes(bytes.clone()).ok()?, *ends)));
    Some(WebhookSettings {
        name: WebhookName::parse(&stored.name).ok()?,
        url: WebhookUrl::parse(stored.url.as_deref()?).ok()?,
        secrets: SigningSecrets::new(secrets.collect::<Option<_>>()?),
        types: WebhookTypes::parse(stored.types.clone()?).ok()?,
        devices: DeviceDetail::ALL.iter().copied().find(|known| known.as_str() == devices)?,
        batch_max: stored.batch_max?.cast_unsigned(),
        ca_file: None,
    })
}
