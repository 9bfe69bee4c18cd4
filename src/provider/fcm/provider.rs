//! FCM's checks of a notification's content: overrides, size, and whether there is anything to send.

use http::header::CONTENT_TYPE;
use uuid::Uuid;

use super::settings::FcmSettings;
use super::{CHANNEL, PLATFORM, request};
use crate::domain::{App, Content, NotificationId, Platform, ValidationError};
use crate::provider::Expiry;
use crate::provider::apple;
use crate::provider::port::{PREVIEW_TOKEN, Preview, Provider};
use crate::provider::provider_settings::AnySettings;
use crate::settings::Section;

/// The error codes of docs/providers.md#fcm-errors, Google's status names, what the token endpoint answers, and the reasons of
/// APNs that FCM passes on.
const REASONS: &[&str] = &[
    "UNSPECIFIED_ERROR",
    "INVALID_ARGUMENT",
    "UNREGISTERED",
    "SENDER_ID_MISMATCH",
    "QUOTA_EXCEEDED",
    "UNAVAILABLE",
    "INTERNAL",
    "THIRD_PARTY_AUTH_ERROR",
    "APNS_AUTH_ERROR",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
    "NOT_FOUND",
    "RESOURCE_EXHAUSTED",
    "DEADLINE_EXCEEDED",
    "FAILED_PRECONDITION",
    "UNKNOWN",
    "invalid_grant",
    "invalid_client",
    "BadDeviceToken",
    "DeviceTokenNotForTopic",
    "ExpiredToken",
    "Unregistered",
];

/// Firebase Cloud Messaging.
#[derive(Debug)]
pub struct Fcm;

impl Provider for Fcm {
    fn platform(&self) -> Platform {
        PLATFORM
    }

    fn read_settings(&self, section: Section<'_>) -> Option<AnySettings> {
        FcmSettings::read(section).map(AnySettings::new)
    }

    /// The schema of FCM's message says what the members are.
    fn override_members(&self) -> Option<&'static [&'static str]> {
        None
    }

    fn reasons(&self) -> &'static [&'static str] {
        REASONS
    }

    fn check_overrides(&self, content: &Content, app: &App) -> Vec<ValidationError> {
        request::check_overrides(content, apple::topics(app))
    }

    fn shows_something(&self, content: &Content) -> bool {
        request::shows_something(content)
    }

    fn supplies_content(&self, content: &Content) -> bool {
        request::supplies_content(content)
    }

    fn has_something_to_send(&self, content: &Content) -> bool {
        request::has_something_to_send(content)
    }

    fn check_size(&self, content: &Content, app: &App) -> Vec<ValidationError> {
        // All ids have the same length, so any id gives the size.
        request::check_size(content, NotificationId(Uuid::nil()), channel(app))
    }

    fn preview(&self, id: NotificationId, content: &Content, app: &App, expiry: Expiry) -> Option<Preview> {
        let message = request::prepare(id, content, channel(app));
        let (size, limit) = message.size_and_limit();
        let body = String::from_utf8_lossy(&message.body(PREVIEW_TOKEN, expiry)).into_owned();
        let content_type = (CONTENT_TYPE.as_str().to_owned(), request::MEDIA_TYPE.to_owned());
        Some(Preview { headers: vec![content_type], body, size, limit })
    }

    fn settings_bytes(&self, app: &App) -> usize {
        channel(app).map_or(0, str::len)
    }
}

/// The app's Android channel, for notifications that name none.
fn channel(app: &App) -> Option<&str> {
    app.provider_values(PLATFORM, CHANNEL).first().map(String::as_str)
}
