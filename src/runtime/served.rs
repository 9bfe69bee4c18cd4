//! What a node serves: its apps and their lanes, at the start and as reloads of the configuration add to them.
//!
//! An addition has two steps. [`Additions::find`] reads the credentials and makes the rows; it may fail, and then nothing
//! has changed. [`Served::add`] can't fail. It starts the lanes before it lets requests in, so that a request for a new
//! app finds the app's lanes.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;

use super::listeners::ConnectionLimits;
use super::{Role, senders};
use crate::config::{Config, FcmSettings};
use crate::dispatch::{Dispatcher, LaneCredentials, LaneSetup, Quota};
use crate::domain::{Apps, LaneKey, ServedApps};
use crate::provider::Sender;
use crate::store::{self, SessionPool};

/// The apps and lanes of a running node.
#[derive(Clone, Debug)]
pub(super) struct Served {
    role: Role,
    /// The configuration of the start. Its apps are those that are served.
    config: Config,
    apps: Arc<ServedApps>,
    lanes: Vec<ReloadedLane>,
    /// By project: the lanes of a project share its quota, whichever came first.
    quotas: BTreeMap<String, Arc<Quota>>,
    /// None where the node only answers.
    dispatcher: Option<Dispatcher>,
    connections: ConnectionLimits,
    pool: SessionPool,
}

/// A lane that takes new credentials.
#[derive(Clone, Debug)]
struct ReloadedLane {
    app: String,
    key: LaneKey,
    credentials: Arc<LaneCredentials>,
}

/// A sender that its lane is to try before it is used.
pub(super) struct Offer {
    credentials: Arc<LaneCredentials>,
    sender: Sender,
}

/// Apps and lanes that a configuration adds: checked, with their rows, and not served yet.
pub(super) struct Additions {
    /// What is served with them.
    config: Config,
    /// All that are served with them.
    apps: Apps,
    senders: Vec<(String, LaneKey, Sender)>,
}

impl Additions {
    /// What `wanted` has and `served` lacks. Makes the rows of all apps.
    ///
    /// # Errors
    /// A credential can't be used, or Postgres is out of reach ([`store::Error`]).
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
        if role.sends() {
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
        Ok(Some(Self { config, apps, senders: added }))
    }

    /// Tells of them what the first lines of a log tell of a start's.
    pub(super) fn announce(&self, served: &Served) {
        let apps = self.config.apps.keys().filter(|app| !served.config.apps.contains_key(*app));
        let apps = apps.map(String::as_str).collect::<Vec<_>>().join(", ");
        let lanes = added_lanes(&served.config, &self.config).map(|(app, key)| format!("{app}/{key}"));
        let lanes = lanes.collect::<Vec<_>>().join(", ");
        tracing::info!(apps, lanes, "apps and lanes are added");
    }
}

fn added_lanes<'a>(
    served: &'a Config,
    with_added: &'a Config,
) -> impl Iterator<Item = (&'a String, LaneKey)> {
    let is_served = |app: &String, key: LaneKey| {
        let settings = served.apps.get(app);
        settings.is_some_and(|settings| senders::is_configured(settings, key.platform()))
    };
    senders::lanes(with_added).filter(move |(app, key)| !is_served(app, *key))
}

impl Served {
    /// No app yet: `config` is the start's without its apps. `dispatcher` starts lanes; none if the node only answers.
    pub(super) fn new(
        config: Config,
        role: Role,
        dispatcher: Option<Dispatcher>,
        connections: ConnectionLimits,
        pool: SessionPool,
    ) -> Self {
        Self {
            role,
            config,
            apps: Arc::default(),
            lanes: Vec::new(),
            quotas: BTreeMap::new(),
            dispatcher,
            connections,
            pool,
        }
    }

    /// The configuration of the start, with the apps that are served now.
    pub(super) fn config(&self) -> &Config {
        &self.config
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

    /// Serves them from now on.
    pub(super) fn add(&mut self, additions: Additions) {
        let Additions { config, apps, senders } = additions;
        let mut setups = Vec::new();
        for (name, key, sender) in senders {
            let Some(app) = apps.values().find(|app| app.name == name) else { continue };
            let quota = match (&sender, &config.apps[&name].fcm) {
                (Sender::Fcm(client), Some(fcm)) => Some(self.quota(client.project_id(), fcm)),
                _ => None,
            };
            let credentials = Arc::new(LaneCredentials::new(format!("{name}/{key}"), sender));
            self.lanes.push(ReloadedLane { app: name, key, credentials: Arc::clone(&credentials) });
            setups.push(LaneSetup { app: Arc::clone(app), key, credentials, quota });
        }
        if let Some(dispatcher) = &self.dispatcher {
            dispatcher.start(setups);
        }
        self.apps.replace(apps);
        self.config = config;
    }

    /// Leaves clients fewer connections, as the apps that are served now need more.
    pub(super) fn share_connections(&self) {
        self.connections.share(&self.config);
    }

    fn quota(&mut self, project: &str, settings: &FcmSettings) -> Arc<Quota> {
        let quota = || Arc::new(Quota::new(settings.messages_per_minute));
        Arc::clone(self.quotas.entry(project.to_owned()).or_insert_with(quota))
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
            let same = match key {
                LaneKey::Apns(_) => old.is_some_and(|old| old.apns == new.apns),
                LaneKey::Fcm => old.is_some_and(|old| old.fcm == new.fcm),
            };
            if !same {
                let sender = senders::sender(app, new, *key, in_flight_max, proxy.clone()).await;
                let sender = sender.context("a credential can't be used")?;
                offers.extend(sender.map(|sender| Offer { credentials: Arc::clone(credentials), sender }));
            }
        }
        Ok(offers)
    }
}

impl Offer {
    /// Gives it to its lane.
    pub(super) fn make(self) {
        self.credentials.offer(self.sender);
    }
}
