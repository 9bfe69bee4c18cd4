//! APNs's checks of a notification's content: overrides, size, and whether there is anything to send.

use uuid::Uuid;

use super::settings::ApnsSettings;
use super::{PLATFORM, request};
use crate::domain::{App, Content, Kind, NotificationId, Platform, ValidationError};
use crate::provider::Expiry;
use crate::provider::apple::{self, PushType};
use crate::provider::port::{Preview, Provider};
use crate::provider::provider_settings::AnySettings;
use crate::settings::Section;

/// The reasons of docs/providers.md#apns-reasons.
const REASONS: &[&str] = &[
    "BadCollapseId",
    "BadDeviceToken",
    "BadExpirationDate",
    "BadMessageId",
    "BadPath",
    "BadPriority",
    "BadTopic",
    "BadCertificate",
    "BadCertificateEnvironment",
    "BadEnvironmentKeyIdInToken",
    "BadEnvironmentKeyInToken",
    "DeviceTokenNotForTopic",
    "DuplicateHeaders",
    "ExpiredProviderToken",
    "ExpiredToken",
    "Forbidden",
    "IdleTimeout",
    "InternalServerError",
    "InvalidProviderToken",
    "InvalidPushType",
    "MethodNotAllowed",
    "MissingDeviceToken",
    "MissingProviderToken",
    "MissingTopic",
    "PayloadEmpty",
    "PayloadTooLarge",
    "ServiceUnavailable",
    "Shutdown",
    "TooManyProviderTokenUpdates",
    "TooManyRequests",
    "TopicDisallowed",
    "Unregistered",
    "UnrelatedKeyIdInToken",
];

/// Apple Push Notification service.
#[derive(Debug)]
pub struct Apns;

impl Provider for Apns {
    fn platform(&self) -> Platform {
        PLATFORM
    }

    fn read_settings(&self, section: Section<'_>) -> Option<AnySettings> {
        ApnsSettings::read(section).map(AnySettings::new)
    }

    fn override_members(&self) -> Option<&'static [&'static str]> {
        Some(apple::OVERRIDE_MEMBERS)
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

    fn check_size(&self, content: &Content, _: &App) -> Vec<ValidationError> {
        // All ids have the same length, so any id gives the size.
        request::check_size(content, NotificationId(Uuid::nil())).into_iter().collect()
    }

    fn preview(&self, id: NotificationId, content: &Content, app: &App, expiry: Expiry) -> Option<Preview> {
        let topic = apple::topics(app).first().map(String::as_str).unwrap_or_default();
        let message = request::prepare(id, content, topic);
        let (size, limit) = message.size_and_limit();
        let body = String::from_utf8_lossy(message.body()).into_owned();
        Some(Preview { headers: message.headers(expiry), body, size, limit })
    }

    fn payload_limit<'a>(&self, text_at: &dyn Fn(&[&str]) -> Option<&'a str>) -> usize {
        let named = text_at(apple::PUSH_TYPE_PATH).and_then(PushType::parse);
        named.unwrap_or(PushType::Alert).payload_limit()
    }

    fn kind(&self, content: &Content) -> Kind {
        apple::kind(content)
    }
}
