//! The apps and lanes that a node serves: those of the start, and those that reloads of the configuration add.
//!
//! An addition has two steps. [`Additions::find`] reads the credentials and creates the rows; if it fails, nothing has
//! changed. [`Served::add`] can't fail: it starts the lanes, and then accepts requests for the new apps, so that each
//! request finds its lanes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use anyhow::Context as _;

use super::announce::warn_without_provider;
use super::listeners::ConnectionLimits;
use super::{Role, senders};
use crate::config::{AppSettings, Config};
use crate::dispatch::{Dispatcher, LaneCredentials, LaneSetup, Quota};
use crate::domain::{AddressGuard, App, AppId, Apps, LaneKey, Platform, ServedApps};
use crate::events::webhooks::{self, DeclaredWebhooks, WebhookRegistry};
use crate::provider::{AnySettings, Sender, SharedQuota};
use crate::store::{self, SessionPool};

/// The apps and lanes of a running node.
#[derive(Clone, Debug)]
pub(super) struct Served {
    role: Role,
    /// The configuration of the start, with the apps that are served now.
    config: Config,
    apps: Arc<ServedApps>,
    lanes: Vec<ReloadedLane>,
    /// By provider and owner, because all lanes of an owner share its quota.
    quotas: BTreeMap<(Platform, String), Arc<Quota>>,
    /// None if the node does not send.
    dispatcher: Option<Dispatcher>,
    connections: ConnectionLimits,
    pool: SessionPool,
    webhooks: Arc<WebhookRegistry>,
}

/// A lane with what reloads need to offer it new credentials.
#[derive(Clone, Debug)]
struct ReloadedLane {
    app: String,
    key: LaneKey,
    credentials: Arc<LaneCredentials>,
}

/// A sender with new credentials, which its lane tries before using it.
pub(super) struct Offer {
    credentials: Arc<LaneCredentials>,
    platform: Platform,
    sender: Sender,
    quota: Option<SharedQuota>,
}

/// Apps and lanes that a configuration adds. They are checked and have rows, but are not served yet.
pub(super) struct Additions {
    /// The configuration with these apps.
    config: Config,
    /// All apps of that configuration.
    apps: Apps,
    webhooks: HashMap<AppId, DeclaredWebhooks>,
    senders: Vec<(String, LaneKey, Sender)>,
}

impl Additions {
    /// The apps and lanes that `wanted` has and `served` lacks, and the user tokens and schedules of clean-up runs of `wanted`. None: there is no
    /// difference. Creates the rows of all apps.
    ///
    /// # Errors
    /// A credential can't be used, or Postgres can't be reached ([`store::Error`]).
    pub(super) async fn find(
        served: &Config,
        wanted: &Config,
        role: Role,
        pool: &SessionPool,
    ) -> anyhow::Result<Option<Self>> {
        let config = served.with_added_apps(wanted);
        if config.apps == served.apps {
            return Ok(None);
        }
        let mut added = Vec::new();
        if role.has_lanes() {
            let proxy = senders::proxy(&config.network);
            for (app, key) in added_lanes(served, &config) {
                let (settings, in_flight_max) = (&config.apps[app], config.delivery.max_in_flight);
                let sender = senders::sender(app, settings, key, in_flight_max, proxy.clone()).await?;
                added.extend(sender.map(|sender| (app.clone(), key, sender)));
            }
        }
        let mut conn =
            pool.acquire().await.map_err(store::Error::from).context("Postgres can't be reached")?;
        let apps = senders::apps(&mut conn, &config).await?;
        let webhooks = declared(&config, &apps);
        webhooks::enter(&mut conn, &webhooks).await?;
        Ok(Some(Self { config, apps, webhooks, senders: added }))
    }

    /// Logs the added apps and lanes, as `announce` does at a start.
    pub(super) fn announce(&self, served: &Served) {
        let apps = self.config.apps.keys().filter(|app| !served.config.apps.contains_key(*app));
        let apps = apps.map(String::as_str).collect::<Vec<_>>().join(", ");
        let lanes = added_lanes(&served.config, &self.config).map(|(app, key)| format!("{app}/{key}"));
        let lanes = lanes.collect::<Vec<_>>().join(", ");
        if !apps.is_empty() || !lanes.is_empty() {
            tracing::info!(apps, lanes, "apps and lanes are added");
        }
        let is_added = |(name, _): &(&String, &AppSettings)| !served.config.apps.contains_key(*name);
        warn_without_provider(self.config.apps.iter().filter(is_added));
        let has_changed = |(name, app): &(&String, &AppSettings)| {
            served.config.apps.get(*name).is_some_and(|served| served.user_tokens != app.user_tokens)
        };
        for (app, settings) in self.config.apps.iter().filter(has_changed) {
            let keys = settings.user_tokens.as_ref().map_or(0, |tokens| tokens.keys.len());
            tracing::info!(app, keys, "the keys of user tokens are changed");
        }
        let schedules_of = |name: &String| served.config.apps.get(name).map(|app| &app.cleanups);
        let schedules = self.config.apps.iter().map(|(name, app)| (name, &app.cleanups));
        for (app, new) in schedules.filter(|(name, new)| schedules_of(name).is_some_and(|old| old != *new)) {
            let schedules = new.len();
            tracing::info!(app, schedules, "the schedules of clean-up runs are changed");
        }
    }
}

/// What a configuration says of webhooks, by the app's id. Nothing while no events are kept.
fn declared(config: &Config, apps: &Apps) -> HashMap<AppId, DeclaredWebhooks> {
    let of_app =
        |app: &Arc<App>| config.apps.get(&app.name).map(|settings| (app.id, settings.webhooks.clone()));
    apps.values().filter_map(of_app).filter(|_| !config.retention.events.is_zero()).collect()
}

fn added_lanes<'a>(
    served: &'a Config,
    with_added: &'a Config,
) -> impl Iterator<Item = (&'a String, LaneKey)> {
    let is_served = |app: &String, key: LaneKey| {
        let settings = served.apps.get(app);
        settings.is_some_and(|settings| settings.providers.contains_key(&key.platform()))
    };
    senders::lanes(with_added).filter(move |(app, key)| !is_served(app, *key))
}

impl Served {
    /// Without apps: `config` is that of the start without its apps. `dispatcher` starts lanes; none if the node does
    /// not send.
    pub(super) fn new(
        config: Config,
        role: Role,
        dispatcher: Option<Dispatcher>,
        connections: ConnectionLimits,
        pool: SessionPool,
    ) -> Self {
        let guard = AddressGuard::new(config.webhooks.allow_networks.clone());
        let webhooks = WebhookRegistry::new(guard, config.webhooks.retry.clone());
        Self {
            role,
            config,
            apps: Arc::default(),
            lanes: Vec::new(),
            quotas: BTreeMap::new(),
            dispatcher,
            connections,
            pool,
            webhooks: Arc::new(webhooks),
        }
    }

    /// The configuration of the start, with the apps that are served now.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// The webhooks of the configuration.
    pub(super) fn webhooks(&self) -> &Arc<WebhookRegistry> {
        &self.webhooks
    }

    /// The apps, for requests and audiences.
    pub(super) fn apps(&self) -> &Arc<ServedApps> {
        &self.apps
    }

    /// As [`Additions::find`], for a configuration that was read while the node runs.
    ///
    /// # Errors
    /// As [`Additions::find`].
    pub(super) async fn find_additions(&self, wanted: &Config) -> anyhow::Result<Option<Additions>> {
        Additions::find(&self.config, wanted, self.role, &self.pool).await
    }

    /// Serves these apps and lanes from now on.
    pub(super) fn add(&mut self, additions: Additions) {
        let Additions { config, apps, webhooks, senders } = additions;
        for app in apps.values() {
            for (key, lane) in &app.lanes {
                self.pool.name_lane(lane.id, &format!("{}/{key}", app.name));
            }
        }
        let mut setups = Vec::new();
        for (name, key, sender) in senders {
            let Some(app) = apps.values().find(|app| app.name == name) else { continue };
            let quota = config.apps[&name].providers.get(&key.platform()).and_then(AnySettings::quota);
            let quota = quota.map(|shared| self.quota(key.platform(), shared));
            let credentials = Arc::new(LaneCredentials::new(format!("{name}/{key}"), sender, quota));
            self.lanes.push(ReloadedLane { app: name, key, credentials: Arc::clone(&credentials) });
            setups.push(LaneSetup { app: Arc::clone(app), key, credentials });
        }
        if let Some(dispatcher) = &self.dispatcher {
            dispatcher.start(setups);
        }
        self.apps.replace(apps);
        self.webhooks.replace(webhooks);
        self.config = config;
    }

    /// Gives clients fewer connections, because the lanes of the added apps need some.
    pub(super) fn share_connections(&self) {
        self.connections.share(&self.config);
    }

    /// The quota of an owner, with this number of messages per minute from now on. All settings of a configuration that
    /// name the owner state the same number.
    fn quota(&mut self, platform: Platform, shared: SharedQuota) -> Arc<Quota> {
        let quota = || Arc::new(Quota::new(shared.messages_per_minute));
        let quota = self.quotas.entry((platform, shared.owner)).or_insert_with(quota);
        quota.set_per_minute(shared.messages_per_minute);
        Arc::clone(quota)
    }

    /// New senders for the lanes with other settings in `wanted` than in `seen`. Lanes that lost their settings keep
    /// what they have.
    ///
    /// # Errors
    /// A credential that can't be used.
    pub(super) async fn changed_senders(&self, seen: &Config, wanted: &Config) -> anyhow::Result<Vec<Offer>> {
        let (in_flight_max, proxy) =
            (self.config.delivery.max_in_flight, senders::proxy(&self.config.network));
        let mut offers = Vec::new();
        for ReloadedLane { app, key, credentials } in &self.lanes {
            let (old, Some(new)) = (seen.apps.get(app), wanted.apps.get(app)) else { continue };
            let platform = key.platform();
            let same = old.is_some_and(|old| old.providers.get(&platform) == new.providers.get(&platform));
            if !same {
                let sender = senders::sender(app, new, *key, in_flight_max, proxy.clone()).await;
                let sender = sender.context("a credential can't be used")?;
                let quota = new.providers.get(&platform).and_then(AnySettings::quota);
                let credentials = Arc::clone(credentials);
                offers.extend(sender.map(|sender| Offer { credentials, platform, sender, quota }));
            }
        }
        Ok(offers)
    }

    /// Offers new senders to their lanes, each with the quota of its project.
    pub(super) fn offer(&mut self, offers: Vec<Offer>) {
        for Offer { credentials, platform, sender, quota } in offers {
            let quota = quota.map(|shared| self.quota(platform, shared));
            credentials.offer(sender, quota);
        }
    }
}
