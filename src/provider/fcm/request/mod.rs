//! What FCM is sent: a body prepared once per notification, into which each attempt's token and what remains of its
//! expiry are spliced. Pure.

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

/// Room for what is written into a body besides its text and token: three numbers.
const NUMBERS: usize = 40;

/// A notification, ready to go to any device of an FCM lane. Cloning shares the bytes.
#[derive(Clone)]
pub struct FcmMessage {
    after_token: Template,
    message_size: usize,
    apns_payload_size: usize,
    traits: Traits,
}

/// Parts of a message that carry content. The notification's id in them is none.
const CONTENT: [&str; 8] = [
    "/notification",
    "/data",
    "/android/notification",
    "/android/data",
    "/android_v2/remote_notification",
    "/android_v2/data",
    "/webpush/notification",
    "/webpush/data",
];

/// What a message carries that decides whom a verdict concerns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traits {
    /// A Live Activity's token: the one that APNs speaks of.
    pub activity: bool,
    /// A header of the request's own took part in the topic or in the key that the message is sent with.
    pub overridden: bool,
}

impl Traits {
    /// Does what APNs says of the token concern another than the device's own, or another topic than the app's?
    pub fn is_of_another_token(self) -> bool {
        self.activity || self.overridden
    }
}

/// Renders what all attempts at `content` share. `channel` is the configured Android channel, for content that names
/// none.
pub fn prepare(id: NotificationId, content: &Content, channel: Option<&str>) -> FcmMessage {
    let overrides = Overrides::of(content);
    let mut message = message(id, content, &overrides, channel);
    let mut draft = Draft::default();
    let longest_ttl = r#"{"":{"ttl":"2419200s"}}"#.len();
    let mut message_size = "{}".len() - ",".len();

    // Preview of 2026: it excludes `android`, which is ours, so an override of it replaces that.
    let android_name = if message.contains_key("android_v2") { "android_v2" } else { "android" };
    // An override that takes `android` away does not take away how long the message lives.
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

/// Faults of a request's `fcm` part. `topics` are the APNs topics that the app's configuration names.
pub fn check_overrides(content: &Content, topics: &[String]) -> Vec<ValidationError> {
    let mut faults = schema::check(&content.fcm);
    faults.extend(apple_part::check_headers(content, &Overrides::of(content), topics));
    faults
}

/// The faults of a message that is larger than FCM takes. Any id stands for the real one: all are of one length.
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

/// Does the `fcm` part bring something to see or hear?
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

/// Does the `fcm` part bring content that the request's own fields lack?
///
/// Something to see or hear, a Live Activity, or what wakes an Apple app.
pub fn supplies_content(content: &Content) -> bool {
    let overrides = Overrides::of(content);
    apple::wakes(overrides.apns_payload().get("aps")) || shows_something(content)
}

/// Is there anything to send to a device with an FCM token?
///
/// The `apns` part is content here too, because the token may be an Apple device's. With a push type for which Apple has
/// tokens of their own, such as `voip`, it is none.
pub fn has_something_to_send(content: &Content) -> bool {
    if content.fcm.is_empty() && (content.silent || content.shows_something()) {
        return true;
    }
    let overrides = Overrides::of(content);
    // Any id stands for the real one.
    let message = Value::Object(message(NotificationId(Uuid::nil()), content, &overrides, None));
    let fills = |place: &&str| {
        let members = message.pointer(place).and_then(Value::as_object);
        members.is_some_and(|members| members.keys().any(|name| name != "pushpost"))
    };
    let to_apple = apple_part::is_for_alert_tokens(content, &overrides)
        && apple::has_effect(message.pointer("/apns/payload/aps"));
    content.silent || to_apple || CONTENT.iter().any(fills) || is_filled_activity(content, &overrides)
}

/// A Live Activity's token with a payload, from whichever part it comes.
fn is_filled_activity(content: &Content, overrides: &Overrides) -> bool {
    let filled = !content.apns.payload.is_empty() || overrides.fills(&["apns", "payload"]);
    overrides.has_activity() && filled
}

impl FcmMessage {
    /// The body for one token.
    pub fn body(&self, token: &str, expiry: Expiry) -> Bytes {
        const START: &[u8] = br#"{"message":{"token":"#;
        let mut body = BytesMut::with_capacity(START.len() + self.after_token.len() + token.len() + NUMBERS);
        body.put_slice(START);
        serde_json::to_writer((&mut body).writer(), token).expect("a string is always writable");
        self.after_token.write(expiry, &mut body);
        body.freeze()
    }

    /// Bytes of the message without token, `apns` and `webpush`, and how many FCM takes.
    pub fn size_and_limit(&self) -> (usize, usize) {
        (self.message_size, SIZE_MAX)
    }

    /// What decides whom a verdict concerns.
    pub(in crate::provider) fn traits(&self) -> Traits {
        self.traits
    }
}

impl fmt::Debug for FcmMessage {
    /// Nothing of what the notification says.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FcmMessage").field("bytes", &self.message_size).finish_non_exhaustive()
    }
}

/// The part for browsers, with a place for how long the push may be kept, unless an override says it.
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

/// The members of an object as they follow another member.
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
