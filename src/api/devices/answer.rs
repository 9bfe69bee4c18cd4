//! A device as answers show it, which depends on the scopes of the caller's key.

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::auth::Caller;
use crate::api::schema_enums;
use crate::api::time::Timestamp;
use crate::domain::{AppVersion, InstallationKey, Locale, Scope, TimeZone, UserId};
use crate::registry::devices::DeviceWithTopics;
use crate::registry::registration::IgnoredPart;

/// What a key may see of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::api) enum DeviceView {
    /// All members, with the token.
    Owner,
    /// All members, with a hint in place of the token.
    Reader,
    /// What the device itself said, and whether it has a user: publishable keys are public.
    App,
}

/// A device. Keys with `devices` or `admin` see `token`, other secret keys `token_hint`; a publishable key gets an
/// `AppDevice`.
#[derive(Serialize, ToSchema, Debug)]
#[schema(example = json!({
    "id": "dev_5bf4acbbbcffe5d67fbfee43320f88a6", "platform": "apns", "kind": "alert", "environment": "sandbox",
    "status": "active", "topics": ["news"],
    "token": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "user": "u42", "user_topics": [],
    "locale": "de-DE", "timezone": null, "app_version": "5.2.0", "quarantine": null, "source": "registered",
    "created_at": "2026-11-28T09:00:00.000Z", "registered_at": "2026-11-28T09:00:00.000Z"
}))]
pub(in crate::api) struct Device<'a> {
    /// The device's id: `dev_` and up to 60 letters and digits.
    id: String,
    /// The service that issued the token. An iPhone with the Firebase SDK is `fcm`.
    #[schema(value_type = schema_enums::Platform)]
    platform: &'static str,
    /// What the token is for. An FCM token is always `alert`.
    #[schema(value_type = schema_enums::Kind)]
    kind: &'static str,
    /// APNs's environment; null for FCM.
    #[schema(required, value_type = Option<schema_enums::Environment>)]
    environment: Option<&'static str>,
    /// `quarantined`: the token was called dead, replaced or cleaned up, and is not sent to.
    #[schema(value_type = schema_enums::DeviceStatus)]
    status: &'static str,
    /// The topics that the device itself is subscribed to, by name.
    topics: Vec<&'a str>,
    /// The token, for keys with `devices` or `admin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    /// The token's last characters, for other keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_hint: Option<&'a str>,
    /// The user that the device is bound to.
    #[schema(required)]
    user: Option<&'a str>,
    /// The topics that the device's user is subscribed to, by name. They hold for the device as long as it is the user's.
    user_topics: Vec<&'a str>,
    /// The phone's language, as BCP 47.
    #[schema(required)]
    locale: Option<&'a str>,
    /// The phone's time zone, as an IANA name.
    #[schema(required)]
    timezone: Option<&'a str>,
    /// The app's version, as the app reports it.
    #[schema(required)]
    app_version: Option<&'a str>,
    /// Why and since when the device is quarantined.
    #[schema(required)]
    quarantine: Option<Quarantine<'a>>,
    /// How the device became known: registered, imported, or only from a notification to its token.
    #[schema(value_type = schema_enums::Source)]
    source: &'static str,
    /// When the device became known.
    created_at: Timestamp,
    /// When the app last handed over the token; null: not known.
    #[schema(required)]
    registered_at: Option<Timestamp>,
    /// Parts of the request that were left out. Only in answers to `PUT` and `PATCH`, and only if there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ignored: Vec<IgnoredAnswer<'a>>,
}

/// A device as a publishable key sees it: no token, no user id, no closed topic.
#[derive(Serialize, ToSchema, Debug)]
#[schema(example = json!({
    "id": "dev_5bf4acbbbcffe5d67fbfee43320f88a6", "platform": "apns", "kind": "alert", "environment": "sandbox",
    "status": "active", "topics": ["news"], "bound": false
}))]
pub(in crate::api) struct AppDevice<'a> {
    /// The device's id: `dev_` and up to 60 letters and digits.
    id: String,
    /// The service that issued the token.
    #[schema(value_type = schema_enums::Platform)]
    platform: &'static str,
    /// What the token is for.
    #[schema(value_type = schema_enums::Kind)]
    kind: &'static str,
    /// APNs's environment; null for FCM.
    #[schema(required, value_type = Option<schema_enums::Environment>)]
    environment: Option<&'static str>,
    /// `quarantined`: the token is not sent to.
    #[schema(value_type = schema_enums::DeviceStatus)]
    status: &'static str,
    /// The open topics that the device is subscribed to, by name.
    topics: Vec<&'a str>,
    /// Has the device a user?
    bound: bool,
    /// Parts of the request that were left out, if there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ignored: Vec<IgnoredAnswer<'a>>,
}

/// Why and since when a device is quarantined.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct Quarantine<'a> {
    /// The provider's reason, or Pushpost's own, such as `replaced`.
    #[schema(example = "Unregistered")]
    reason: &'a str,
    /// When the device was quarantined.
    at: Timestamp,
}

/// A part of a registration that was left out, because it can't be read or carried out. It never costs the registration.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct IgnoredAnswer<'a> {
    /// The part, as a JSON pointer.
    #[schema(example = "#/locale")]
    pointer: &'a str,
    /// Why it was left out.
    #[schema(value_type = schema_enums::IgnoredReason)]
    reason: &'static str,
}

/// The answer to a registration: what the caller's key may see of the device.
#[derive(Serialize, ToSchema, Debug)]
#[serde(untagged)]
pub(in crate::api) enum DeviceAnswer<'a> {
    /// For secret keys.
    Device(Box<Device<'a>>),
    /// For publishable keys.
    AppDevice(AppDevice<'a>),
}

/// A page of devices, ordered by when they became known.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct DeviceList<'a> {
    /// The devices of this page.
    pub(super) items: Vec<DeviceAnswer<'a>>,
    /// What to send as `cursor` for the next page; null: this is the last one.
    #[schema(required)]
    pub(super) next_cursor: Option<String>,
}

/// The devices of the tokens in a lookup.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct LookupAnswer<'a> {
    /// One for each token, in the order of the request; null where the token is not known.
    pub(super) items: Vec<Option<&'a DeviceAnswer<'a>>>,
}

impl DeviceView {
    /// The view of a caller.
    pub(in crate::api) fn of<R>(caller: &Caller<R>) -> Self {
        let scopes = caller.scopes;
        if scopes.is_publishable() {
            Self::App
        } else if caller.sees_tokens && (scopes.has(Scope::Devices) || scopes.has(Scope::Admin)) {
            Self::Owner
        } else {
            Self::Reader
        }
    }

    /// The device as this view shows it. `ignored`: parts of the caller's request that were left out.
    pub(in crate::api) fn show<'a>(
        self,
        key: &InstallationKey,
        known: &'a DeviceWithTopics,
        ignored: &'a [IgnoredPart],
    ) -> DeviceAnswer<'a> {
        let DeviceWithTopics { device, topics, user_topics } = known;
        let id = key.device_id(device.app, device.id);
        let platform = device.platform.as_str();
        let kind = device.kind.as_str();
        let environment = device.environment.map(|environment| environment.as_str());
        let status = schema_enums::DEVICE_STATUSES[usize::from(device.quarantine.is_some())];
        let ignored = ignored.iter().map(IgnoredAnswer::from).collect();
        if self == Self::App {
            let open = topics.iter().filter(|topic| !topic.is_closed());
            let topics = open.map(|topic| topic.as_str()).collect();
            let bound = device.user.is_some();
            return DeviceAnswer::AppDevice(AppDevice {
                id,
                platform,
                kind,
                environment,
                status,
                topics,
                bound,
                ignored,
            });
        }
        let is_owner = self == Self::Owner;
        DeviceAnswer::Device(Box::new(Device {
            id,
            platform,
            kind,
            environment,
            status,
            topics: topics.iter().map(|topic| topic.as_str()).collect(),
            token: is_owner.then(|| device.token.expose()),
            token_hint: (!is_owner).then(|| device.token.hint()),
            user: device.user.as_ref().map(UserId::as_str),
            user_topics: user_topics.iter().map(|topic| topic.as_str()).collect(),
            locale: device.locale.as_ref().map(Locale::as_str),
            timezone: device.timezone.as_ref().map(TimeZone::as_str),
            app_version: device.app_version.as_ref().map(AppVersion::as_str),
            quarantine: device
                .quarantine
                .as_ref()
                .map(|since| Quarantine { reason: &since.reason.0, at: Timestamp(since.at) }),
            source: device.source.as_str(),
            created_at: Timestamp(device.created_at),
            registered_at: device.registered_at.map(Timestamp),
            ignored,
        }))
    }
}

impl<'a> From<&'a IgnoredPart> for IgnoredAnswer<'a> {
    fn from(ignored: &'a IgnoredPart) -> Self {
        Self { pointer: &ignored.pointer, reason: ignored.reason.as_str() }
    }
}
