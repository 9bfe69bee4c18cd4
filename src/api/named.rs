//! Reads lists of devices, users, topics and platforms that a request names.

use super::json::Fields;
use super::path::{NO_DEVICE_ID, NO_TOPIC, NO_USER_ID};
use crate::audience::NamedDevice;
use crate::domain::{
    App, DeviceId, InputCode, InstallationKey, Platform, TopicName, UserId, ValidationError,
};

/// Reads the member `devices`. A text with the form of an id that is not an id of this app is unmatched, which is no
/// fault. Any other text may be a token, so it is neither stored nor repeated.
pub fn devices(fields: &mut Fields<'_>, app: &App, installation: &InstallationKey) -> Vec<NamedDevice> {
    let given = fields.strings("devices").into_iter().flatten();
    let devices = given.filter_map(|(at, text)| {
        if !DeviceId::is_public_form(text) {
            fields.faults().push(ValidationError::at(at, InputCode::BadDeviceId, NO_DEVICE_ID));
            return None;
        }
        let id = installation.parse_device_id(app.id, text).ok();
        Some(NamedDevice { public_id: text.to_owned(), id })
    });
    devices.collect()
}

/// Reads the member `users`.
pub fn users(fields: &mut Fields<'_>) -> Vec<UserId> {
    let given = fields.strings("users").into_iter().flatten();
    let users = given.filter_map(|(at, text)| {
        let user = UserId::parse(text);
        if user.is_none() {
            let fault = ValidationError::at(at, InputCode::BadUser, NO_USER_ID);
            fields.faults().push(fault.with("limit", UserId::MAX));
        }
        user
    });
    users.collect()
}

/// Reads the member `topics`.
pub fn topics(fields: &mut Fields<'_>) -> Vec<TopicName> {
    let given = fields.strings("topics").into_iter().flatten();
    let topics = given.filter_map(|(at, text)| {
        let topic = TopicName::parse(text);
        if topic.is_none() {
            let fault = ValidationError::at(at, InputCode::BadTopic, NO_TOPIC);
            fields.faults().push(fault.with("limit", TopicName::MAX));
        }
        topic
    });
    topics.collect()
}

/// The platforms of the member `platforms`, each once. None: the member is left out.
pub fn platforms(to: &mut Fields<'_>, app: &App) -> Option<Vec<Platform>> {
    let given = to.strings("platforms")?;
    if to.length("platforms") == 0 {
        to.fault("platforms", InputCode::BadValue, "this names no platform, so no device would be left");
    }
    let mut platforms: Vec<_> = given.filter_map(|(at, text)| platform(to, at, text, app)).collect();
    platforms.sort_unstable();
    platforms.dedup();
    Some(platforms)
}

/// The platform of this name, which stands at `at`. None: it is none, which is added to the faults.
fn platform(fields: &Fields<'_>, at: String, text: &str, app: &App) -> Option<Platform> {
    let platform = app.platforms().parse(text);
    if platform.is_none() {
        fields.faults().push(unsupported_platform(at, app));
    }
    platform
}

/// The fault of a platform that Pushpost does not send to.
pub fn unsupported_platform(at: String, app: &App) -> ValidationError {
    let names = app.platforms().names();
    let detail = format!("this platform is not supported; it must be one of {}", names.join(", "));
    ValidationError::at(at, InputCode::UnsupportedPlatform, detail).with("supported", names)
}
