//! Devices as lines of NDJSON, for `pushpost devices export`.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use super::answer::DeviceView;
use crate::domain::{AppVersion, Environment, InstallationKey, Locale, Source, TimeZone, TopicName, UserId};
use crate::registry::devices::DeviceWithTopics;

/// A line that an import takes.
#[derive(Serialize)]
struct ImportableDevice<'a> {
    platform: &'static str,
    token: &'a str,
    kind: &'static str,
    environment: Option<&'static str>,
    user: Option<&'a str>,
    topics: Vec<&'a str>,
    locale: Option<&'a str>,
    timezone: Option<&'a str>,
    app_version: Option<&'a str>,
    registered_at: Option<String>,
}

/// The line from which an import makes the same device, without its end. None for a device that an import would make
/// more of than it is here: one that is quarantined, or known from sends alone.
pub fn importable_line(known: &DeviceWithTopics) -> Option<String> {
    let DeviceWithTopics { device, topics, .. } = known;
    if device.quarantine.is_some() || device.source == Source::Send {
        return None;
    }
    let time = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let stated = |environment: &Environment| device.platform.stated_environments().contains(environment);
    Some(line(&ImportableDevice {
        platform: device.platform.as_str(),
        token: device.token.expose(),
        kind: device.kind.as_str(),
        environment: device.environment.filter(stated).map(Environment::as_str),
        user: device.user.as_ref().map(UserId::as_str),
        topics: topics.iter().map(TopicName::as_str).collect(),
        locale: device.locale.as_ref().map(Locale::as_str),
        timezone: device.timezone.as_ref().map(TimeZone::as_str),
        app_version: device.app_version.as_ref().map(AppVersion::as_str),
        registered_at: device.registered_at.map(time),
    }))
}

/// All that is known of a device, as `GET /v1/devices/{id}` shows it to a key that may see its token; without the line's
/// end.
pub fn full_line(key: &InstallationKey, known: &DeviceWithTopics) -> String {
    line(&DeviceView::Owner.show(key, known, &[]))
}

fn line(device: &impl Serialize) -> String {
    serde_json::to_string(device).expect("a device has only text, lists of text and null")
}
