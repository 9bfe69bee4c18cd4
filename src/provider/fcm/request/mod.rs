//! What FCM is sent: a body prepared once per notification, into which each attempt's token and what remains of its
//! life are spliced. Pure.

use std::fmt::{self, Write as _};

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value, json};

use super::schema;
use crate::domain::{Content, InputCode, InputFault, NotificationId, Platform, Priority};
use crate::provider::Life;
use crate::provider::apple::{self, Alert};
use crate::provider::merge::merge;

/// Most bytes of a message without token and `apns`, and of its `apns.payload` (docs/providers.md 3.3).
const SIZE_MAX: usize = 4096;

/// Where a message goes. Exactly one may be there, and it is the attempt's: another would turn one push into a
/// broadcast per device. `check_overrides` refuses them; what was stored must not depend on that.
const TARGETS: [&str; 4] = ["token", "fid", "topic", "condition"];

/// A notification, ready to go to any device of an FCM lane. Cloning shares the bytes.
#[derive(Clone)]
pub struct Prepared {
    /// From the token to the ttl.
    after_token: Bytes,
    /// From the ttl to the expiration.
    after_ttl: Bytes,
    /// From the expiration to the end.
    after_expiration: Bytes,
    message_size: usize,
    apns_payload_size: usize,
    activity: bool,
}

/// Renders what all attempts at `content` share. `channel` is the configured Android channel, for content that names
/// none.
pub fn prepare(id: NotificationId, content: &Content, channel: Option<&str>) -> Prepared {
    let mut message = message(id, content, channel);
    // Preview of 2026: it excludes `android`, which is ours, so an override of it replaces that.
    let android_name = if message.contains_key("android_v2") { "android_v2" } else { "android" };
    let mut android = take_object(&mut message, android_name);
    message.shift_remove("android");
    android.shift_remove("ttl");
    let mut apns = take_object(&mut message, "apns");
    let mut headers = take_object(&mut apns, "headers");
    headers.shift_remove(apple::EXPIRATION);
    let activity = apns.get("live_activity_token").is_some_and(Value::is_string);
    let apns_payload_size = apns.get("payload").map_or(0, |payload| payload.to_string().len());
    let (android, message) = (rest(&android), rest(&message));
    let longest_ttl = r#"{"":{"ttl":"2419200s"}}"#.len();
    Prepared {
        after_token: format!(r#","{android_name}":{{"ttl":""#).into(),
        after_ttl: format!(r#"s"{android}}},"apns":{{"headers":{{"{}":""#, apple::EXPIRATION).into(),
        after_expiration: format!(r#""{}}}{}}}{message}}}}}"#, rest(&headers), rest(&apns)).into(),
        message_size: longest_ttl + android_name.len() + android.len() + message.len(),
        apns_payload_size,
        activity,
    }
}

/// Faults of a request's `fcm` part. `topics` are the APNs topics that the app's configuration names.
pub fn check_overrides(content: &Content, topics: &[String]) -> Vec<InputFault> {
    let mut faults = schema::check(&content.fcm);
    if let Some(Value::Object(headers)) = content.fcm.get("apns").and_then(|apns| apns.get("headers")) {
        faults.extend(apple::check_headers(headers, "#/fcm/apns/headers", content.push_type(), topics));
    }
    faults
}

/// The faults of a message that is larger than FCM takes. Any id stands for the real one: all are of one length.
pub fn check_size(content: &Content, id: NotificationId, channel: Option<&str>) -> Vec<InputFault> {
    let prepared = prepare(id, content, channel);
    let parts = [("message", prepared.message_size), ("apns.payload", prepared.apns_payload_size)];
    let too_large = parts.into_iter().filter(|(_, size)| *size > SIZE_MAX).map(|(part, size)| {
        InputFault::at("#", InputCode::PayloadTooLarge, "larger than FCM takes")
            .with("platform", Platform::Fcm.as_str())
            .with("part", part)
            .with("size", size)
            .with("limit", SIZE_MAX)
    });
    too_large.collect()
}

/// Does the `fcm` part bring something to see or hear that the request's own fields lack?
pub fn supplies_content(content: &Content) -> bool {
    let overrides = schema::canonical(&content.fcm);
    let filled = |value: Option<&Value>| {
        value.and_then(Value::as_object).is_some_and(|object| object.values().any(|value| !value.is_null()))
    };
    let within = |outer: &str, inner: &str| overrides.get(outer).and_then(|value| value.get(inner)).cloned();
    filled(overrides.get("notification"))
        || filled(within("android", "notification").as_ref())
        || filled(within("android_v2", "remote_notification").as_ref())
        || filled(within("webpush", "notification").as_ref())
        || apple::shows_something(within("apns", "payload").as_ref().and_then(|payload| payload.get("aps")))
}

impl Prepared {
    /// The body for one token.
    pub fn body(&self, token: &str, life: Life) -> Bytes {
        const START: &[u8] = br#"{"message":{"token":"#;
        let fixed = START.len() + self.after_token.len() + self.after_ttl.len() + self.after_expiration.len();
        let mut body = BytesMut::with_capacity(fixed + token.len() + 40);
        body.put_slice(START);
        serde_json::to_writer((&mut body).writer(), token).expect("a string is always writable");
        body.put_slice(&self.after_token);
        write!(body, "{}", life.ttl_secs()).expect("it grows");
        body.put_slice(&self.after_ttl);
        write!(body, "{}", life.apns_expiration()).expect("it grows");
        body.put_slice(&self.after_expiration);
        body.freeze()
    }

    /// Bytes of the message without token and `apns`, and how many FCM takes.
    pub fn size_and_limit(&self) -> (usize, usize) {
        (self.message_size, SIZE_MAX)
    }

    /// Does it carry a Live Activity's token?
    pub(super) fn is_activity(&self) -> bool {
        self.activity
    }
}

impl fmt::Debug for Prepared {
    /// Nothing of what the notification says.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("bytes", &self.message_size).finish_non_exhaustive()
    }
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

/// The message without target and life, overrides merged.
fn message(id: NotificationId, content: &Content, channel: Option<&str>) -> Map<String, Value> {
    let overrides = schema::canonical(&content.fcm);
    let mut message = Map::new();
    if !content.silent {
        let mut notification = Map::new();
        apple::put(&mut notification, "title", content.title.as_deref());
        apple::put(&mut notification, "body", content.body.as_deref());
        apple::put(&mut notification, "image", content.image.as_deref());
        if !notification.is_empty() {
            message.insert("notification".to_owned(), Value::Object(notification));
        }
    }
    message.insert("data".to_owned(), Value::Object(data(id, content)));
    message.insert("android".to_owned(), Value::Object(android(id, content, channel)));
    message.insert("apns".to_owned(), Value::Object(apns(id, content, &overrides)));
    if let Some(label) = &content.label {
        message.insert("fcm_options".to_owned(), json!({ "analytics_label": label }));
    }
    merge(&mut message, &overrides);
    for target in TARGETS {
        message.shift_remove(target);
    }
    message
}

/// FCM's data is text: strings as they are, anything else its JSON.
fn data(id: NotificationId, content: &Content) -> Map<String, Value> {
    let mut data = Map::new();
    for (name, value) in &content.data {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        data.insert(name.clone(), text.into());
    }
    apple::put(&mut data, "url", content.url.as_deref());
    data.insert("pushpost".to_owned(), id.to_string().into());
    data
}

fn android(id: NotificationId, content: &Content, channel: Option<&str>) -> Map<String, Value> {
    let urgent = match content.priority {
        Priority::High => true,
        Priority::Normal => !content.silent,
        Priority::Low => false,
    };
    let mut android = Map::new();
    android.insert("priority".to_owned(), if urgent { "HIGH" } else { "NORMAL" }.into());
    if content.silent {
        // Never a derived one: a device keeps four, and beyond that messages vanish (docs/providers.md 3.3).
        apple::put(&mut android, "collapse_key", content.collapse_key.as_deref());
        return android;
    }
    let mut notification = Map::new();
    apple::put(&mut notification, "sound", content.sound.as_deref());
    if let Some(count) = content.badge.filter(|badge| *badge > 0) {
        notification.insert("notification_count".to_owned(), count.into());
    }
    let tag = content.collapse_key.clone().unwrap_or_else(|| id.to_string());
    notification.insert("tag".to_owned(), tag.into());
    apple::put(&mut notification, "channel_id", content.channel.as_deref().or(channel));
    android.insert("notification".to_owned(), Value::Object(notification));
    android
}

/// An FCM token may be an iPhone's.
fn apns(id: NotificationId, content: &Content, overrides: &Map<String, Value>) -> Map<String, Value> {
    let mut headers = Map::new();
    headers.insert(apple::PUSH_TYPE.to_owned(), content.push_type().as_str().into());
    headers.insert(apple::PRIORITY.to_owned(), apple::priority(content).into());
    apple::put(&mut headers, apple::COLLAPSE_ID, apple::collapse_id(content, id).as_deref());
    merge(&mut headers, &content.apns.headers);

    // An alert in the payload replaces FCM's own whole, so an override of a part of it needs ours beneath it.
    let fcm_payload = overrides.get("apns").and_then(|apns| apns.get("payload"));
    let own_payload = content.apns.payload.get("aps");
    let alerts = [own_payload, fcm_payload.and_then(|payload| payload.get("aps"))];
    let partial = alerts.iter().any(|aps| aps.and_then(|aps| aps.get("alert")).is_some_and(Value::is_object));
    let aps = apple::aps(content, if partial { Alert::Written } else { Alert::ByFcm });
    let mut payload = Map::new();
    if !aps.is_empty() {
        payload.insert("aps".to_owned(), Value::Object(aps));
    }
    merge(&mut payload, &content.apns.payload);

    let mut apns = Map::new();
    apns.insert("headers".to_owned(), Value::Object(headers));
    if !payload.is_empty() {
        apns.insert("payload".to_owned(), Value::Object(payload));
    }
    if let Some(image) = content.image.as_deref().filter(|_| !content.silent) {
        apns.insert("fcm_options".to_owned(), json!({ "image": image }));
    }
    apns
}

#[cfg(test)]
mod tests;
