//! Apps, as the configuration and the database describe them together.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use super::{
    AppId, CleanupSchedule, DeviceToken, Environment, LaneId, LaneKey, Platform, Platforms, UserTokenVerifier,
};

/// An app: a tenant with its keys, credentials and devices.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct App {
    /// The id of its row.
    pub id: AppId,
    /// Its name in the configuration.
    pub name: String,
    /// All lanes that an app can have. Each has a row, even without credentials.
    pub lanes: BTreeMap<LaneKey, AppLane>,
    /// What requests and devices need to know of the settings of its providers.
    pub defaults: BTreeMap<Platform, ProviderDefaults>,
    /// How many topics the app may have.
    pub topics_max: u32,
    /// What its user tokens are verified with. None: the configuration has no keys for them.
    pub user_tokens: Option<Arc<UserTokenVerifier>>,
    /// Clean-up runs that start by themselves.
    pub cleanups: Vec<CleanupSchedule>,
}

/// What an app's settings of one provider say to requests and devices.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ProviderDefaults {
    /// The environment of a device for which none is stated.
    pub environment: Option<Environment>,
    /// Values that only the provider reads, under names of its own.
    pub values: BTreeMap<&'static str, Vec<String>>,
}

/// One lane of an app.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AppLane {
    /// The id of its row.
    pub id: LaneId,
    /// Does the configuration have credentials for the lane?
    pub configured: bool,
}

/// The apps of the configuration.
pub type Apps = HashMap<AppId, Arc<App>>;

/// The apps that a node serves. A reload of the configuration can add apps; an app is removed only by a restart.
#[derive(Debug, Default)]
pub struct ServedApps(RwLock<Arc<Apps>>);

impl ServedApps {
    /// Starts with these apps.
    pub fn new(apps: Apps) -> Self {
        Self(RwLock::new(Arc::new(apps)))
    }

    /// All apps that are served now.
    pub fn all(&self) -> Arc<Apps> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// An app that is served now. The caller keeps this state of the app until its work is done.
    pub fn get(&self, id: AppId) -> Option<Arc<App>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&id).map(Arc::clone)
    }

    /// Replaces the apps that are served.
    pub fn replace(&self, apps: Apps) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(apps);
    }
}

impl App {
    /// The lane of this key. An app has all lanes.
    pub fn lane(&self, key: LaneKey) -> AppLane {
        self.lanes.get(&key).copied().expect("an app is built with all its lanes")
    }

    /// Every platform that it can have lanes of, in the order in which answers name them.
    pub fn platforms(&self) -> Platforms {
        let mut platforms: Vec<Platform> = self.lanes.keys().map(|key| key.platform()).collect();
        platforms.dedup();
        Platforms::new(platforms)
    }

    /// The environment of a device of which only the token is known.
    pub fn environment_of(&self, platform: Platform, token: &DeviceToken) -> Option<Environment> {
        let default = self.defaults.get(&platform).and_then(|defaults| defaults.environment);
        platform.environment_of(token, default)
    }

    /// What the settings of a provider say under one of the provider's own names.
    pub fn provider_values(&self, platform: Platform, name: &str) -> &[String] {
        let values = self.defaults.get(&platform).and_then(|defaults| defaults.values.get(name));
        values.map_or(&[], Vec::as_slice)
    }

    /// Does the configuration have credentials for the platform?
    pub fn has_platform(&self, platform: Platform) -> bool {
        self.lanes.iter().any(|(key, lane)| key.platform() == platform && lane.configured)
    }

    /// The key of a lane, by the id of its row.
    pub fn lane_key(&self, id: LaneId) -> Option<LaneKey> {
        self.lanes.iter().find(|(_, lane)| lane.id == id).map(|(key, _)| *key)
    }
}
