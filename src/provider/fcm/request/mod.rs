//! Requests to FCM: a body is rendered once per notification. Each attempt inserts its token and the remaining expiry.
//! Pure.

mod apple_part;
mod message;
mod template;

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value};
use uuid::Uuid;

use self::message::{Overrides, WEB_TTL, message};
use self::template::{Draft, Slot, Template};
use super::schema;
use crate::domain::{Content, InputCode, NotificationId, ValidationError};
use crate::provider::Expiry;
use crate::provider::apple;
use crate::provider::fcm;

/// Most bytes of a message without token, `apns` and `webpush`, and of its `apns.payload`
/// (docs/providers.md#fcm-message).
const SIZE_MAX: usize = 4096;

/// The media type of a body.
pub(in crate::provider::fcm) const MEDIA_TYPE: &str = "application/json";

/// Extra capacity of a body in bytes, for the three numbers that an attempt inserts.
const NUMBER_BYTES: usize = 40;

/// A notification, rendered for all devices of an FCM lane. Cloning shares the bytes.
#[derive(Clone)]
pub struct FcmMessage {
    after_token: Template,
    message_size: usize,
    apns_payload_size: usize,
    traits: Traits,
}

/// Parts of a message that carry content. The notification's id in them does not count as content.
const CONTENT_PATHS: [&str; 8] = [
    "/notification",
    "/data",
    "/android/notification",
    "/android/data",
    "/android_v2/remote_notification",
    "/android_v2/data",
    "/webpush/notification",
    "/webpush/data",
];

/// Properties of a message that decide whether a refusal concerns the token, the lane or only the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traits {
    /// The message has the token of a Live Activity. APNs's reasons are about that token.
    pub activity: bool,
    /// A header of the request changed the topic or the key of the message.
    pub overridden: bool,
}

impl Traits {
    /// Whether APNs's reason is about a token other than the device's, or a topic other than the app's.
    pub fn is_of_another_token(self) -> bool {
        self.activity || self.overridden
    }
}

/// Renders the part that all attempts at `content` share. `channel` is the configured Android channel, for content
/// that names none.
pub fn prepare(id: NotificationId, content: &Content, channel: Option<&str>) -> FcmMessage {
    let overrides = Overrides::of(content);
    let mut message = message(id, content, &overrides, channel);
    let mut draft = Draft::default();
    let longest_ttl = r#"{"":{"ttl":"2419200s"}}"#.len();
    let mut message_size = "{}".len() - ",".len();

    // `android_v2` is a preview of 2026 and excludes `android`, so an override of `android_v2` replaces the rendered
    // `android`.
    let android_name = if message.contains_key("android_v2") { "android_v2" } else { "android" };
    // An override that removes `android` must not remove the `ttl`.
    if message.contains_key(android_name) || !overrides.has_activity() {
        let mut android = take_object(&mut message, android_name);
        android.shift_remove("ttl");
        let android = rest(&android);
        message_size = longest_ttl + android_name.len() + android.len();
        draft = draft.text(&format!(r#","{android_name}":{{"ttl":""#)).slot(Slot::Ttl);
        draft = draft.text(&format!(r#"s"{android}}}"#));
    }
    message.shift_remove("android");
    if let Some(Value::Object(webpush)) = message.shift_remove("webpush") {
        draft = write_webpush(draft, webpush);
    }
    let mut apns = take_object(&mut message, "apns");
    apns.shift_remove("headers");
    let headers = apple_part::headers(content, &overrides, id);
    let apns_payload_size = apns.get("payload").map_or(0, |payload| payload.to_string().len());
    let message = rest(&message);
    draft = draft.text(&format!(r#","apns":{{"headers":{{"{}":""#, apple::EXPIRATION)).slot(Slot::Expiration);
    draft = draft.text(&format!(r#""{}}}{}}}{message}}}}}"#, rest(&headers), rest(&apns)));
    FcmMessage {
        after_token: draft.finish(),
        message_size: message_size + message.len(),
        apns_payload_size,
        traits: Traits {
            activity: overrides.has_activity(),
            overridden: apple_part::topic_is_overridden(content, &overrides)
                || overrides.has_web_credential(),
        },
    }
}

/// Faults of a request's `fcm` part. `topics` are the configured APNs topics of the app.
pub fn check_overrides(content: &Content, topics: &[String]) -> Vec<ValidationError> {
    let mut faults = schema::check(content.overrides.of(fcm::PLATFORM));
    faults.extend(apple_part::check_headers(content, &Overrides::of(content), topics));
    faults
}

/// The faults of a message that is larger than FCM takes. Any id gives the size, because all ids have the same length.
pub fn check_size(content: &Content, id: NotificationId, channel: Option<&str>) -> Vec<ValidationError> {
    let prepared = prepare(id, content, channel);
    let parts = [("message", prepared.message_size), ("apns.payload", prepared.apns_payload_size)];
    let too_large = parts.into_iter().filter(|(_, size)| *size > SIZE_MAX).map(|(part, size)| {
        ValidationError::at("#", InputCode::PayloadTooLarge, "larger than FCM takes")
            .with("platform", fcm::PLATFORM.as_str())
            .with("part", part)
            .with("size", size)
            .with("limit", SIZE_MAX)
    });
    too_large.collect()
}

/// Whether the `fcm` part has something to see or hear.
pub fn shows_something(content: &Content) -> bool {
    let overrides = Overrides::of(content);
    let shown = [
        &["notification"][..],
        &["android", "notification"],
        &["android_v2", "remote_notification"],
        &["webpush", "notification"],
    ];
    shown.into_iter().any(|path| overrides.fills(path))
        || apple::shows_something(overrides.apns_payload().get("aps"))
        || is_filled_activity(content, &overrides)
}

/// Whether the `fcm` part has content, so that the request's common fields may be empty.
///
/// Content is something to see or hear, a Live Activity, or `content-available` for Apple devices.
pub fn supplies_content(content: &Content) -> bool {
    let overrides = Overrides::of(content);
    apple::wakes(overrides.apns_payload().get("aps")) || shows_something(content)
}

/// Whether there is anything to send to a device with an FCM token.
///
/// The `apns` part counts as content, because the token may belong to an Apple device. It does not count with a push
/// type that has separate tokens, such as `voip`.
pub fn has_something_to_send(content: &Content) -> bool {
    if content.overrides.of(fcm::PLATFORM).is_empty() && (content.silent || content.shows_something()) {
        return true;
    }
    let overrides = Overrides::of(content);
    // The id has no influence on the result.
    let message = Value::Object(message(NotificationId(Uuid::nil()), content, &overrides, None));
    let fills = |place: &&str| {
        let members = message.pointer(place).and_then(Value::as_object);
        members.is_some_and(|members| members.keys().any(|name| name != "pushpost"))
    };
    let to_apple = apple_part::is_for_alert_tokens(content, &overrides)
        && apple::has_effect(message.pointer("/apns/payload/aps"));
    content.silent || to_apple || CONTENT_PATHS.iter().any(fills) || is_filled_activity(content, &overrides)
}

/// Whether the message has a Live Activity's token and a payload, from the `fcm` or the `apns` part.
fn is_filled_activity(content: &Content, overrides: &Overrides) -> bool {
    let filled = !apple::payload(content).is_empty() || overrides.fills(&["apns", "payload"]);
    overrides.has_activity() && filled
}

impl FcmMessage {
    /// The body for one token, with the remaining expiry inserted.
    pub fn body(&self, token: &str, expiry: Expiry) -> Bytes {
        const START: &[u8] = br#"{"message":{"token":"#;
        let mut body =
            BytesMut::with_capacity(START.len() + self.after_token.len() + token.len() + NUMBER_BYTES);
        body.put_slice(START);
        serde_json::to_writer((&mut body).writer(), token).expect("a string is always writable");
        self.after_token.write(expiry, &mut body);
        body.freeze()
    }

    /// The size of the message without token, `apns` and `webpush`, and FCM's limit, both in bytes.
    pub fn size_and_limit(&self) -> (usize, usize) {
        (self.message_size, SIZE_MAX)
    }

    /// The properties that the classification of the answer needs.
    pub(in crate::provider) fn traits(&self) -> Traits {
        self.traits
    }
}

impl fmt::Debug for FcmMessage {
    /// Shows the size only, because the content is private.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FcmMessage").field("bytes", &self.message_size).finish_non_exhaustive()
    }
}

/// Writes the `webpush` part, with a slot for the `TTL` header unless an override sets it.
fn write_webpush(draft: Draft, mut webpush: Map<String, Value>) -> Draft {
    let ours = webpush.get("headers").and_then(|headers| headers.get(WEB_TTL)).is_some_and(Value::is_null);
    if !ours {
        return draft.text(&format!(r#","webpush":{}"#, Value::Object(webpush)));
    }
    let mut headers = take_object(&mut webpush, "headers");
    headers.shift_remove(WEB_TTL);
    let draft = draft.text(&format!(r#","webpush":{{"headers":{{"{WEB_TTL}":""#)).slot(Slot::Ttl);
    draft.text(&format!(r#""{}}}{}}}"#, rest(&headers), rest(&webpush)))
}

/// The members of an object as JSON, each with a comma before it.
fn rest(object: &Map<String, Value>) -> String {
    object.iter().map(|(name, value)| format!(",{}:{value}", Value::from(name.as_str()))).collect()
}

fn take_object(from: &mut Map<String, Value>, name: &str) -> Map<String, Value> {
    match from.shift_remove(name) {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests;
