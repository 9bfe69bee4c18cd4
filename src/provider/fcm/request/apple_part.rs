//! The `apns` part of an FCM message, for Apple devices with an FCM token (docs/providers.md#fcm-message).
//!
//! The push type depends on the final payload, so it is derived after all overrides of the payload.

use serde_json::{Map, Value, json};

use super::message::{Overrides, has_texts};
use crate::domain::{Content, ErrorLocation, InputCode, NotificationId, ValidationError};
use crate::provider::apple::{self, Alert, AppleMember, PushType, member_of_aps};
use crate::provider::merge::merge;

/// The `apns` part without headers, before `fcm.apns` is merged into it.
pub(super) fn without_headers(content: &Content, overrides: &Overrides) -> Map<String, Value> {
    // An alert in the payload replaces FCM's whole alert. So an override of a part of the alert needs the rest written
    // here. A Live Activity has no `notification`, so FCM writes no alert for it.
    let partial = payload_patches(content, overrides)
        .into_iter()
        .any(|patch| matches!(member_of_aps(patch, "alert"), AppleMember::Given(Value::Object(_))));
    let written = partial || overrides.has_activity();
    let aps = apple::aps(content, if written { Alert::Written } else { Alert::ByFcm });
    let mut payload = Map::new();
    if !aps.is_empty() {
        payload.insert("aps".to_owned(), Value::Object(aps));
    }
    merge(&mut payload, apple::payload(content));
    let mut part = Map::new();
    if !payload.is_empty() {
        part.insert("payload".to_owned(), Value::Object(payload));
    }
    if let Some(image) = content.image.as_deref().filter(|_| !content.silent) {
        part.insert("fcm_options".to_owned(), json!({ "image": image }));
    }
    part
}

/// The headers with all overrides merged, without the expiration.
pub(super) fn headers(content: &Content, overrides: &Overrides, id: NotificationId) -> Map<String, Value> {
    if overrides.removes_apns_headers() {
        return Map::new();
    }
    let push_type = push_type(content, overrides);
    let mut headers = Map::new();
    headers.insert(apple::PUSH_TYPE.to_owned(), push_type.as_str().into());
    headers.insert(apple::PRIORITY.to_owned(), apple::priority(content, push_type).into());
    if !overrides.has_activity() {
        apple::put(&mut headers, apple::COLLAPSE_ID, apple::collapse_id(content, push_type, id).as_deref());
    }
    merge(&mut headers, apple::headers(content));
    merge(&mut headers, overrides.apns_headers());
    headers.shift_remove(apple::EXPIRATION);
    headers
}

/// Whether a header of the request changed the topic that FCM names to APNs. Then a refused topic says nothing about
/// the token (docs/queue.md#topic-override).
pub(super) fn topic_is_overridden(content: &Content, overrides: &Overrides) -> bool {
    let implied = implied_push_type(content, overrides);
    let named = named_push_type(content, overrides).unwrap_or(implied);
    header(content, overrides, apple::TOPIC).is_some() || named.topic_suffix() != implied.topic_suffix()
}

/// Whether Apple devices take the push type with the APNs token that FCM has.
pub(super) fn is_for_alert_tokens(content: &Content, overrides: &Overrides) -> bool {
    matches!(push_type(content, overrides), PushType::Alert | PushType::Background)
}

/// Faults of the headers in `fcm.apns`, and of the headers in `apns` that don't fit this part.
pub(super) fn check_headers(
    content: &Content,
    overrides: &Overrides,
    topics: &[String],
) -> Vec<ValidationError> {
    let push_type = push_type(content, overrides);
    let mut faults = apple::check_headers(overrides.apns_headers(), "#/fcm/apns/headers", push_type, topics);
    let inherited = apple::header(content, apple::PRIORITY);
    let checked_here = overrides.apns_headers().contains_key(apple::PRIORITY);
    let only_here = push_type == PushType::Background && apple::push_type(content) != PushType::Background;
    if only_here && !checked_here && inherited.is_some_and(|priority| priority != "5") {
        let detail = "to Apple devices FCM's message is a background push, which has priority 5 only";
        let at = ErrorLocation::member("#/apns/headers", apple::PRIORITY);
        faults.push(ValidationError::at(at, InputCode::BadHeader, detail));
    }
    faults
}

/// The push type of the message: the named one, else the implied one.
fn push_type(content: &Content, overrides: &Overrides) -> PushType {
    named_push_type(content, overrides).unwrap_or_else(|| implied_push_type(content, overrides))
}

fn named_push_type(content: &Content, overrides: &Overrides) -> Option<PushType> {
    header(content, overrides, apple::PUSH_TYPE).and_then(PushType::parse)
}

/// A header that the request overrides. `fcm.apns` takes precedence over `apns`, and `null` removes a header.
fn header<'a>(content: &'a Content, overrides: &'a Overrides, name: &str) -> Option<&'a str> {
    match overrides.apns_headers().get(name) {
        Some(value) => value.as_str(),
        None => apple::header(content, name),
    }
}

/// The push type if no header names one. Without an alert, badge or sound the message is a background push, and FCM
/// takes background pushes with priority 5 only (docs/providers.md#fcm-message).
pub(super) fn implied_push_type(content: &Content, overrides: &Overrides) -> PushType {
    if overrides.has_activity() {
        return PushType::LiveActivity;
    }
    if content.silent {
        return PushType::Background;
    }
    let alert = has_texts(content) || content.subtitle.is_some() || overrides.has_notification();
    let own = [("alert", alert), ("badge", content.badge.is_some()), ("sound", content.sound.is_some())];
    let visible = own.into_iter().any(|(name, given)| {
        let patches = payload_patches(content, overrides).into_iter();
        patches.fold(given, |before, patch| member_of_aps(patch, name).is_present(before))
    });
    if visible { PushType::Alert } else { PushType::Background }
}

/// The overrides of the payload, in the order in which they are merged.
fn payload_patches<'a>(content: &'a Content, overrides: &'a Overrides) -> [&'a Map<String, Value>; 2] {
    [apple::payload(content), overrides.apns_payload()]
}
