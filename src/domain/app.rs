//! Apps, as the configuration and the database together describe them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use super::{AppId, DeviceToken, Environment, LaneId, LaneKey, Platform, Platforms};

/// A tenant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct App {
    /// Its row.
    pub id: AppId,
    /// Its name in the configuration.
    pub name: String,
    /// Every lane that it can have; all have a row, whether or not there are credentials.
    pub lanes: BTreeMap<LaneKey, AppLane>,
    /// What requests and devices need to know of the settings of its providers.
    pub defaults: BTreeMap<Platform, ProviderDefaults>,
    /// Most topics that it may have at a time.
    pub topics_max: u32,
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
    /// Its row.
    pub id: LaneId,
    /// Has the configuration credentials for it?
    pub configured: bool,
}

/// Every app that the configuration names.
pub type Apps = HashMap<AppId, Arc<App>>;

/// The apps that a node serves at present. A reload of the configuration adds some; none goes before a restart.
#[derive(Debug, Default)]
pub struct ServedApps(RwLock<Arc<Apps>>);

impl ServedApps {
    /// These at first.
    pub fn new(apps: Apps) -> Self {
        Self(RwLock::new(Arc::new(apps)))
    }

    /// All of them, as of now.
    pub fn all(&self) -> Arc<Apps> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// One of them. The caller keeps this view of the app for as long as its work takes.
    pub fn get(&self, id: AppId) -> Option<Arc<App>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&id).map(Arc::clone)
    }

    /// From now on `apps` are served.
    pub fn replace(&self, apps: Apps) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(apps);
    }
}

impl App {
    /// The lane's row; every lane of an app has one.
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

    /// Has the configuration credentials for the platform?
    pub fn has_platform(&self, platform: Platform) -> bool {
        self.lanes.iter().any(|(key, lane)| key.platform() == platform && lane.configured)
    }

    /// The lane of a row.
    pub fn lane_key(&self, id: LaneId) -> Option<LaneKey> {
        self.lanes.iter().find(|(_, lane)| lane.id == id).map(|(key, _)| *key)
    }
}
