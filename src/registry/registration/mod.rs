//! The rules of a registration: how it changes a device. They are pure functions over a [`Device`];
//! `registry::register` loads and stores the devices.

mod batch;
mod ignored;
mod replacement;
mod topics;

use chrono::{DateTime, TimeDelta, Utc};

pub use batch::{RegistrationBatch, RegistrationKeys, RegistrationResult, SubscriptionChanges};
pub use ignored::{IgnoredPart, IgnoredReason};
pub use replacement::{claimed_device, settle_claim};
pub(super) use topics::{DeviceTopics, end_bound_topics};

use crate::domain::{
    App, AppVersion, DeviceId, DeviceToken, Environment, Kind, Locale, Platform, Source, TimeZone, TopicName,
    UserId, UserTokenClaims,
};
use crate::store::devices::{Device, Quarantine};

/// How far a caller's clock may be ahead of Postgres's. A `registered_at` within this time counts as now.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(5);

/// What a request says about one field of a device.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum FieldChange<T> {
    /// The field is left out, so its value stays.
    #[default]
    Keep,
    /// The field is `null`: the value is removed, or set to its default.
    Clear,
    /// The field has a new value.
    Set(T),
}

/// The kind of caller that registers a device. It decides which statements are trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Registrar {
    /// A key with the scope `devices` or `admin`: trusted.
    Backend,
    /// A publishable key, which anybody may have extracted from an app: not trusted. The API refuses fields that such a
    /// key may not set, and sets `user` from a user token only.
    App,
    /// A backend that hands over its whole table of devices: trusted. The time of the import says nothing about when an
    /// app registered.
    Import,
}

/// What a request may state about a device, in a registration or an update.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeviceDetails {
    /// What the token is for. Cleared, it is `alert`.
    pub kind: FieldChange<Kind>,
    /// APNs only. Cleared, it is the app's default.
    pub environment: FieldChange<Environment>,
    /// The user of the device.
    pub user: FieldChange<UserId>,
    /// The complete set of topics; from an app, of the open ones and of those that its user token lists. None: they stay
    /// as they are.
    pub topics: Option<Vec<TopicName>>,
    /// The language that the device is set to.
    pub locale: FieldChange<Locale>,
    /// The time zone that the device is set to.
    pub timezone: FieldChange<TimeZone>,
    /// The version of the app on the device.
    pub app_version: FieldChange<AppVersion>,
    /// Parts of the request that could not be read. They do not make the request fail.
    pub ignored: Vec<IgnoredPart>,
}

/// A request to register a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registration {
    /// The service that issued it.
    pub platform: Platform,
    /// The token at that service.
    pub token: DeviceToken,
    /// What is stated about the device.
    pub details: DeviceDetails,
    /// The token of the same platform that this token replaces.
    pub replaces: Option<DeviceToken>,
    /// When the app registered. None: now, or unknown for an import.
    pub registered_at: Option<DateTime<Utc>>,
    /// What a verified user token proves.
    pub user_token: Option<UserTokenClaims>,
}

/// The error that `registered_at` lies in the future.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("registered_at lies in the future")]
pub struct RegisteredInFuture;

/// A detail that devices of a platform do not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnsupportedDetail {
    /// An environment that no caller may state for devices of the platform.
    Environment(Platform),
    /// A kind that the platform does not have.
    Kind(Platform),
}

impl Registrar {
    /// May it set what an untrusted caller may only suggest?
    fn is_trusted(self) -> bool {
        self != Self::App
    }

    /// The source of a device after its registration; `before` is its source until now. A registered device stays
    /// `registered` when it is imported.
    fn source(self, before: Option<Source>) -> Source {
        match (self, before) {
            (Self::Import, None | Some(Source::Send | Source::Import)) => Source::Import,
            _ => Source::Registered,
        }
    }
}

impl<T: Clone> FieldChange<T> {
    /// The value after the change.
    pub fn applied_to(&self, old: Option<T>) -> Option<T> {
        match self {
            Self::Keep => old,
            Self::Clear => None,
            Self::Set(new) => Some(new.clone()),
        }
    }
}

impl DeviceDetails {
    /// The details that a device of this platform can't have.
    pub fn unsupported(&self, platform: Platform) -> Vec<UnsupportedDetail> {
        let is_unknown = |stated: Environment| !platform.stated_environments().contains(&stated);
        let environment = matches!(self.environment, FieldChange::Set(stated) if is_unknown(stated))
            .then_some(UnsupportedDetail::Environment(platform));
        let kind = matches!(self.kind, FieldChange::Set(kind) if !platform.facts().kinds.contains(&kind))
            .then_some(UnsupportedDetail::Kind(platform));
        [environment, kind].into_iter().flatten().collect()
    }

    /// Changes a device as the details state. Its topics are stored elsewhere and are not changed.
    pub fn apply_to(&self, device: &mut Device, app: &App, caller: Registrar) {
        device.kind = match self.kind {
            FieldChange::Keep => device.kind,
            FieldChange::Clear => Kind::Alert,
            FieldChange::Set(kind) => kind,
        };
        let stated = match self.environment {
            FieldChange::Keep => None,
            FieldChange::Clear => app.environment_of(device.platform, &device.token),
            FieldChange::Set(environment) => Some(environment),
        };
        let stated = stated.filter(|stated| device.platform.stated_environments().contains(stated));
        // What the provider has proven outweighs the statement of an untrusted app.
        let is_accepted = caller.is_trusted() || !device.environment_proven;
        if stated.is_some() && stated != device.environment && is_accepted {
            device.environment = stated;
            device.environment_proven = false;
        }
        device.user = self.user.applied_to(device.user.take());
        device.locale = self.locale.applied_to(device.locale.take());
        device.timezone = self.timezone.applied_to(device.timezone.take());
        device.app_version = self.app_version.applied_to(device.app_version.take());
    }
}

impl Registration {
    /// The user that a user token names.
    fn proven_user(&self) -> Option<&UserId> {
        self.user_token.as_ref().map(|token| &token.user)
    }

    /// When the app registered, by a request that arrives at `now`. None: unknown.
    ///
    /// # Errors
    /// `registered_at` lies in the future.
    pub fn effective_time(
        &self,
        now: DateTime<Utc>,
        caller: Registrar,
    ) -> Result<Option<DateTime<Utc>>, RegisteredInFuture> {
        match self.registered_at {
            Some(stated) if stated > now + CLOCK_TOLERANCE => Err(RegisteredInFuture),
            Some(stated) => Ok(Some(stated.min(now))),
            None => Ok((caller != Registrar::Import).then_some(now)),
        }
    }

    /// A new device that was registered at `at`. Its id and its time of creation are set when it is inserted.
    pub fn new_device(&self, app: &App, at: Option<DateTime<Utc>>, caller: Registrar) -> Device {
        let mut device = Device {
            id: DeviceId(0),
            app: app.id,
            platform: self.platform,
            environment: app.environment_of(self.platform, &self.token),
            environment_proven: false,
            kind: Kind::Alert,
            source: caller.source(None),
            token: self.token.clone(),
            user: None,
            locale: None,
            timezone: None,
            app_version: None,
            created_at: DateTime::UNIX_EPOCH,
            registered_at: at,
            quarantine: None,
            replaces: None,
        };
        self.details.apply_to(&mut device, app, caller);
        device
    }

    /// Registers a known device again, at `at`. Its registration time never moves backwards. A quarantined device
    /// becomes active only if it was registered after the evidence against its token.
    pub fn update_device(
        &self,
        device: &mut Device,
        app: &App,
        at: Option<DateTime<Utc>>,
        caller: Registrar,
    ) {
        self.details.apply_to(device, app, caller);
        // The part of the token that identifies the device is the same; the rest may be new.
        if device.token != self.token {
            device.token = self.token.clone();
            if device.platform.stated_environments().is_empty() {
                device.environment = app.environment_of(device.platform, &device.token);
            }
        }
        device.source = caller.source(Some(device.source));
        device.registered_at = device.registered_at.max(at);
        let is_refuted = |quarantine: &Quarantine| at > Some(quarantine.evidence_at.unwrap_or(quarantine.at));
        if device.quarantine.as_ref().is_some_and(is_refuted) {
            device.quarantine = None;
        }
    }
}

#[cfg(test)]
mod tests;
