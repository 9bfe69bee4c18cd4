//! APNs's checks of a notification's content: overrides, size, and whether there is anything to send.

use uuid::Uuid;

use super::{PLATFORM, request};
use crate::domain::{App, Content, NotificationId, Platform, PushType, ValidationError};
use crate::provider::apple;
use crate::provider::port::Provider;

/// Apple Push Notification service.
#[derive(Debug)]
pub struct Apns;

impl Provider for Apns {
    fn platform(&self) -> Platform {
        PLATFORM
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

    fn payload_limit(&self, push_type: PushType) -> usize {
        push_type.payload_limit()
    }
}
