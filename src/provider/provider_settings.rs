//! The settings of a provider: its section `[apps.<name>.<provider>]`, which only the provider reads, compares and opens
//! lanes with.
//!
//! The configuration holds them as [`AnySettings`], which calls the trait that each provider implements for its own type.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::built_in::Sender;
use super::proxy::Proxy;
use super::setup::SetupError;
use crate::domain::{LaneKey, ProviderDefaults};

/// The settings of one app at one provider. Two are equal if lanes that they open send alike; the contents of the files
/// that they name are compared too.
pub trait ProviderSettings: Eq + fmt::Debug + Send + Sync + 'static {
    /// What checks of requests and devices need to know.
    fn defaults(&self) -> ProviderDefaults;

    /// The keys in which `new` differs and that a running node does not take over. Words in brackets after a key say
    /// what the change concerns.
    fn changes_for_restart(&self, new: &Self) -> Vec<&'static str>;

    /// Most simultaneous connections of all lanes of the app to this provider, if each lane has `max_in_flight` requests
    /// in flight.
    fn connections_max(&self, max_in_flight: u32) -> usize;

    /// The quota that the lanes share with all lanes of the same owner. None: the provider counts nothing. Sections of
    /// the same owner that state different numbers are a fault of the configuration.
    fn quota(&self) -> Option<SharedQuota> {
        None
    }

    /// Makes the client of a lane. Opens no connection yet.
    ///
    /// # Errors
    /// The credential, the CA file or another setting can't be used.
    fn open(&self, lane: LaneOptions) -> impl Future<Output = Result<Sender, SetupError>> + Send;
}

/// What a client needs beside the provider's settings.
#[derive(Clone, Debug)]
pub struct LaneOptions {
    /// The lane that the client sends for.
    pub key: LaneKey,
    /// Most requests in flight of the lane.
    pub max_in_flight: u32,
    /// The HTTP proxy for hosts beyond this machine.
    pub proxy: Option<Arc<Proxy>>,
}

/// A provider's quota that several lanes share (docs/queue.md#project-quota).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SharedQuota {
    /// What the provider counts for, such as the id of a project.
    pub owner: String,
    /// Messages a minute at most.
    pub messages_per_minute: u32,
}

/// The settings of one app at any provider. Cheap to clone.
#[derive(Clone)]
pub struct AnySettings(Arc<dyn BoxedSettings>);

impl AnySettings {
    /// Settings of the provider that `S` belongs to.
    pub fn new<S: ProviderSettings>(settings: S) -> Self {
        Self(Arc::new(settings))
    }

    /// The settings as the provider's own type; none if they belong to another provider.
    pub fn get<S: ProviderSettings>(&self) -> Option<&S> {
        own(&*self.0)
    }

    /// What checks of requests and devices need to know ([`ProviderSettings::defaults`]).
    pub fn defaults(&self) -> ProviderDefaults {
        self.0.defaults()
    }

    /// The keys that take a restart ([`ProviderSettings::changes_for_restart`]). None of another provider's settings.
    pub fn changes_for_restart(&self, new: &Self) -> Vec<&'static str> {
        self.0.changes_for_restart(&*new.0)
    }

    /// Most connections of the app to the provider ([`ProviderSettings::connections_max`]).
    pub fn connections_max(&self, max_in_flight: u32) -> usize {
        self.0.connections_max(max_in_flight)
    }

    /// The quota that the lanes share with others ([`ProviderSettings::quota`]).
    pub fn quota(&self) -> Option<SharedQuota> {
        self.0.quota()
    }

    /// Makes the client of a lane ([`ProviderSettings::open`]). Opens no connection yet.
    ///
    /// # Errors
    /// The credential, the CA file or another setting can't be used.
    pub async fn open(&self, lane: LaneOptions) -> Result<Sender, SetupError> {
        self.0.open(lane).await
    }
}

impl PartialEq for AnySettings {
    fn eq(&self, other: &Self) -> bool {
        self.0.is_same(&*other.0)
    }
}

impl Eq for AnySettings {}

impl fmt::Debug for AnySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An object-safe [`ProviderSettings`].
trait BoxedSettings: Any + fmt::Debug + Send + Sync {
    fn is_same(&self, other: &dyn BoxedSettings) -> bool;
    fn defaults(&self) -> ProviderDefaults;
    fn changes_for_restart(&self, new: &dyn BoxedSettings) -> Vec<&'static str>;
    fn connections_max(&self, max_in_flight: u32) -> usize;
    fn quota(&self) -> Option<SharedQuota>;
    fn open(&self, lane: LaneOptions) -> BoxFuture<'_, Result<Sender, SetupError>>;
}

fn own<S: ProviderSettings>(settings: &dyn BoxedSettings) -> Option<&S> {
    (settings as &dyn Any).downcast_ref()
}

impl<S: ProviderSettings> BoxedSettings for S {
    fn is_same(&self, other: &dyn BoxedSettings) -> bool {
        own(other) == Some(self)
    }

    fn defaults(&self) -> ProviderDefaults {
        ProviderSettings::defaults(self)
    }

    fn changes_for_restart(&self, new: &dyn BoxedSettings) -> Vec<&'static str> {
        own(new).map_or_else(Vec::new, |new| ProviderSettings::changes_for_restart(self, new))
    }

    fn connections_max(&self, max_in_flight: u32) -> usize {
        ProviderSettings::connections_max(self, max_in_flight)
    }

    fn quota(&self) -> Option<SharedQuota> {
        ProviderSettings::quota(self)
    }

    fn open(&self, lane: LaneOptions) -> BoxFuture<'_, Result<Sender, SetupError>> {
        ProviderSettings::open(self, lane).boxed()
    }
}
