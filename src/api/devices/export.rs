//! Devices as lines that an import takes, and as lines for whoever looks.

use chrono::SecondsFormat;
use serde_json::{Value, json};

use super::answer::DeviceView;
use crate::domain::{AppVersion, InstallationKey, Locale, Source, TimeZone, TopicName, UserId};
use crate::registry::devices::DeviceWithTopics;

/// The line of a device that makes the same of it wherever it is imported; none: one that would be more there than it is
/// here, being set aside, or known from sends alone.
pub fn line(known: &DeviceWithTopics) -> Option<Value> {
    let DeviceWithTopics { device, topics } = known;
    if device.quarantine.is_some() || device.source == Source::Send {
        return None;
    }
    let time = |at: chrono::DateTime<chrono::Utc>| at.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    Some(json!({
        "platform": device.platform.as_str(),
        "token": device.token.expose(),
        "kind": device.kind.as_str(),
        "environment": device.environment.map(|environment| environment.as_str()),
        "user": device.user.as_ref().map(UserId::as_str),
        "topics": topics.iter().map(TopicName::as_str).collect::<Vec<_>>(),
        "locale": device.locale.as_ref().map(Locale::as_str),
        "timezone": device.timezone.as_ref().map(TimeZone::as_str),
        "app_version": device.app_version.as_ref().map(AppVersion::as_str),
        "registered_at": device.registered_at.map(time),
    }))
}

/// All that is known of a device, as `GET /v1/devices/{id}` shows it to whoever may see its token.
pub fn document(key: &InstallationKey, known: &DeviceWithTopics) -> Value {
    DeviceView::Owner.document(key, known)
}
