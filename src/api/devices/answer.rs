//! How a device is shown, which depends on who asks.

use serde_json::{Map, Value, json};

use crate::api::time::rfc3339;
use crate::domain::{AppVersion, InstallationKey, Locale, Scope, Scopes, TimeZone, UserId};
use crate::registry::devices::DeviceWithTopics;
use crate::registry::registration::IgnoredPart;

/// What a key may see of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum DeviceView {
    /// Everything.
    Owner,
    /// Everything but the token.
    Reader,
    /// What the device itself said, and whether it has a user: a publishable key is in strangers' hands.
    App,
}

impl DeviceView {
    /// The view of a key with these scopes.
    pub(super) fn of(scopes: Scopes) -> Self {
        if scopes.is_publishable() {
            Self::App
        } else if scopes.has(Scope::Devices) || scopes.has(Scope::Admin) {
            Self::Owner
        } else {
            Self::Reader
        }
    }

    /// The device.
    pub(super) fn document(self, key: &InstallationKey, known: &DeviceWithTopics) -> Value {
        let DeviceWithTopics { device, topics } = known;
        let mut document = Map::new();
        let mut set = |name: &str, value: Value| document.insert(name.to_owned(), value);
        set("id", json!(key.device_id(device.app, device.id)));
        set("platform", json!(device.platform.as_str()));
        set("kind", json!(device.kind.as_str()));
        set("environment", json!(device.environment.map(|environment| environment.as_str())));
        set("status", json!(if device.quarantine.is_some() { "quarantined" } else { "active" }));
        let is_app = self == Self::App;
        let shown = topics.iter().filter(|topic| !(is_app && topic.is_closed()));
        set("topics", shown.map(|topic| json!(topic.as_str())).collect());
        if is_app {
            set("bound", json!(device.user.is_some()));
            return Value::Object(document);
        }
        match self {
            Self::Owner => set("token", json!(device.token.expose())),
            _ => set("token_hint", json!(device.token.hint())),
        };
        set("user", json!(device.user.as_ref().map(UserId::as_str)));
        set("user_topics", json!([]));
        set("locale", json!(device.locale.as_ref().map(Locale::as_str)));
        set("timezone", json!(device.timezone.as_ref().map(TimeZone::as_str)));
        set("app_version", json!(device.app_version.as_ref().map(AppVersion::as_str)));
        let quarantine = device.quarantine.as_ref();
        set(
            "quarantine",
            json!(quarantine.map(|since| json!({"reason": since.reason.0, "at": rfc3339(since.at)}))),
        );
        set("source", json!(device.source.as_str()));
        set("created_at", json!(rfc3339(device.created_at)));
        set("registered_at", json!(device.registered_at.map(rfc3339)));
        Value::Object(document)
    }
}

/// The document with the parts of the request that were left out, if there are any.
pub(super) fn with_ignored(mut document: Value, ignored: &[IgnoredPart]) -> Value {
    if !ignored.is_empty() {
        let part = |part: &IgnoredPart| json!({"pointer": part.pointer, "reason": part.reason.as_str()});
        document["ignored"] = ignored.iter().map(part).collect();
    }
    document
}
