//! What a registration makes of a device: pure rules, so that each can be tested by itself.

mod batch;
mod ignored;
mod replacement;

use chrono::{DateTime, TimeDelta, Utc};

pub use batch::{RegistrationBatch, RegistrationKeys, RegistrationResult, SubscriptionChanges};
pub use ignored::{IgnoredPart, IgnoredReason};
pub use replacement::{claimed, settle};

use crate::domain::{
    App, AppVersion, DeviceId, DeviceToken, Environment, Kind, Locale, Platform, Source, TimeZone, TopicName,
    UserId,
};
use crate::store::devices::{Device, Quarantine};

/// How far a caller's clock may be ahead of Postgres's: what it calls now is taken as now.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(5);

/// What a request says of a field.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum FieldChange<T> {
    /// Left out: it stays as it is.
    #[default]
    Keep,
    /// `null`: back to nothing, or to the default.
    Clear,
    /// This.
    Set(T),
}

/// Who registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Registrar {
    /// A key with `devices` or `admin`: its word counts.
    Backend,
    /// A publishable key, in a stranger's hands for all we know. What it may not say at all is refused before.
    App,
    /// A backend that hands over its whole table: its word counts, but that it says something now says nothing of when
    /// an app did.
    Import,
}

/// What may be said of a device, whether it registers or is merely described.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeviceDetails {
    /// What the token is for; cleared: `alert`.
    pub kind: FieldChange<Kind>,
    /// APNs only; cleared: the app's default.
    pub environment: FieldChange<Environment>,
    /// Whose.
    pub user: FieldChange<UserId>,
    /// The whole set (from an app: the open part of it); none: it stays as it is.
    pub topics: Option<Vec<TopicName>>,
    /// Language.
    pub locale: FieldChange<Locale>,
    /// Time zone.
    pub timezone: FieldChange<TimeZone>,
    /// The app's version.
    pub app_version: FieldChange<AppVersion>,
    /// Parts of the request that can't be read and cost it nothing.
    pub ignored: Vec<IgnoredPart>,
}

/// An app's token, handed over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registration {
    /// The service that issued it.
    pub platform: Platform,
    /// The token.
    pub token: DeviceToken,
    /// What is said of it.
    pub details: DeviceDetails,
    /// The token that it takes the place of, of the same platform.
    pub replaces: Option<DeviceToken>,
    /// When the app handed it over; none: now, and of an import nobody knows.
    pub registered_at: Option<DateTime<Utc>>,
}

/// `registered_at` lies in the future.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("registered_at lies in the future")]
pub struct RegisteredInFuture;

/// A detail that a platform does not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnsupportedDetail {
    /// Only APNs has environments.
    Environment,
    /// FCM devices have no kind but `alert`.
    Kind,
}

impl Registrar {
    /// Does its word count where it is more than a hint?
    fn is_trusted(self) -> bool {
        self != Self::App
    }

    /// Where a device comes from that was known from `before`. What an app has registered no import makes less of.
    fn source(self, before: Option<Source>) -> Source {
        match (self, before) {
            (Self::Import, None | Some(Source::Send | Source::Import)) => Source::Import,
            _ => Source::Registered,
        }
    }
}

impl<T: Clone> FieldChange<T> {
    /// What becomes of a value.
    pub fn apply(&self, old: Option<T>) -> Option<T> {
        match self {
            Self::Keep => old,
            Self::Clear => None,
            Self::Set(new) => Some(new.clone()),
        }
    }
}

impl DeviceDetails {
    /// Everything that does not fit a device of this platform.
    pub fn unfit(&self, platform: Platform) -> Vec<UnsupportedDetail> {
        if platform == Platform::Apns {
            return Vec::new();
        }
        let environment =
            matches!(self.environment, FieldChange::Set(_)).then_some(UnsupportedDetail::Environment);
        let kind = matches!(self.kind, FieldChange::Set(kind) if kind != Kind::Alert)
            .then_some(UnsupportedDetail::Kind);
        [environment, kind].into_iter().flatten().collect()
    }

    /// Changes a device as they say; its topics are not part of it.
    pub fn describe(&self, device: &mut Device, app: &App, caller: Registrar) {
        device.kind = match self.kind {
            FieldChange::Keep => device.kind,
            FieldChange::Clear => Kind::Alert,
            FieldChange::Set(kind) => kind,
        };
        let stated = match self.environment {
            FieldChange::Keep => None,
            FieldChange::Clear => Some(app.apns_environment),
            FieldChange::Set(environment) => Some(environment),
        };
        let stated = stated.filter(|_| device.platform == Platform::Apns);
        // An app's word is a hint: what APNs has proven stands against it.
        let counts = caller.is_trusted() || !device.environment_proven;
        if stated.is_some() && stated != device.environment && counts {
            device.environment = stated;
            device.environment_proven = false;
        }
        device.user = self.user.apply(device.user.take());
        device.locale = self.locale.apply(device.locale.take());
        device.timezone = self.timezone.apply(device.timezone.take());
        device.app_version = self.app_version.apply(device.app_version.take());
    }
}

impl Registration {
    /// When the app handed the token over, told at `now`; none: nobody knows.
    ///
    /// # Errors
    /// That is yet to come.
    pub fn time(
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

    /// A device that was not known, registered at `at`. Its row and time of creation are the database's to give.
    pub fn first(&self, app: &App, at: Option<DateTime<Utc>>, caller: Registrar) -> Device {
        let mut device = Device {
            id: DeviceId(0),
            app: app.id,
            platform: self.platform,
            environment: (self.platform == Platform::Apns).then_some(app.apns_environment),
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
        self.details.describe(&mut device, app, caller);
        device
    }

    /// A known device, registered again at `at`. The time never moves backwards, and a device that was set aside comes
    /// back only if it was registered after the evidence.
    pub fn again(&self, device: &mut Device, app: &App, at: Option<DateTime<Utc>>, caller: Registrar) {
        self.details.describe(device, app, caller);
        device.source = caller.source(Some(device.source));
        device.registered_at = device.registered_at.max(at);
        let refuted = |quarantine: &Quarantine| at > Some(quarantine.evidence_at.unwrap_or(quarantine.at));
        if device.quarantine.as_ref().is_some_and(refuted) {
            device.quarantine = None;
        }
    }
}

#[cfg(test)]
mod tests;
