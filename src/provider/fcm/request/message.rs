//! FCM's message without target and expiry: rendered from the fields, with the overrides merged last (RFC 7396).

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::apple_part;
use crate::domain::{Content, NotificationId, Priority};
use crate::provider::apple::{self, PushType};
use crate::provider::fcm::{self, schema};
use crate::provider::merge::merge;

/// The members that name the target. A message may have one only, which the attempt sets. Another one could turn each
/// push into a broadcast. `check_overrides` refuses them; they are removed here too, so that stored content is safe.
const TARGETS: [&str; 4] = ["token", "fid", "topic", "condition"];

/// The web push header for how long the push may be kept, in seconds (docs/providers.md#web-push).
pub(super) const WEB_TTL: &str = "TTL";
const WEB_URGENCY: &str = "Urgency";
/// Web push headers that do not concern the sender's key.
const PLAIN_WEB_HEADERS: [&str; 3] = [WEB_TTL, WEB_URGENCY, "Topic"];

static NOTHING: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

/// A request's `fcm` part with every member in `snake_case`.
pub(super) struct Overrides(Map<String, Value>);

impl Overrides {
    pub(super) fn of(content: &Content) -> Self {
        Self(schema::canonical(content.overrides.of(fcm::PLATFORM)))
    }

    /// The value at the end of the path.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.0.get(*first)?, |value, name| value.get(*name))
    }

    fn object(&self, path: &[&str]) -> &Map<String, Value> {
        self.at(path).and_then(Value::as_object).unwrap_or(&NOTHING)
    }

    /// Whether the object at the path has a member that is not `null`.
    pub(super) fn fills(&self, path: &[&str]) -> bool {
        self.object(path).values().any(|value| !value.is_null())
    }

    /// Whether the overrides give the message a `notification`.
    pub(super) fn has_notification(&self) -> bool {
        self.fills(&["notification"])
    }

    /// Whether the message has the token of a Live Activity.
    pub(super) fn has_activity(&self) -> bool {
        self.at(&["apns", "live_activity_token"]).is_some_and(Value::is_string)
    }

    pub(super) fn apns_headers(&self) -> &Map<String, Value> {
        self.object(&["apns", "headers"])
    }

    pub(super) fn apns_payload(&self) -> &Map<String, Value> {
        self.object(&["apns", "payload"])
    }

    pub(super) fn removes_apns_headers(&self) -> bool {
        let is_null = |path: &[&str]| self.at(path).is_some_and(Value::is_null);
        is_null(&["apns"]) || is_null(&["apns", "headers"])
    }

    /// Whether a web push header may concern the sender's key.
    pub(super) fn has_web_credential(&self) -> bool {
        let plain = |name: &str| PLAIN_WEB_HEADERS.iter().any(|known| known.eq_ignore_ascii_case(name));
        self.object(&["webpush", "headers"]).keys().any(|name| !plain(name))
    }
}

/// Whether there is a title or body to show.
pub(super) fn has_texts(content: &Content) -> bool {
    let given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    !content.silent && (given(&content.title) || given(&content.body))
}

/// The message with all overrides merged. In `webpush` the header `TTL` is `null` if each attempt sets it.
pub(super) fn message(
    id: NotificationId,
    content: &Content,
    overrides: &Overrides,
    channel: Option<&str>,
) -> Map<String, Value> {
    let activity = overrides.has_activity();
    let mut message = Map::new();
    // Without a text there is no `notification`, because Android and browsers would show an empty banner.
    if has_texts(content) && !activity || overrides.has_notification() {
        let mut notification = Map::new();
        apple::put(&mut notification, "title", content.title.as_deref());
        apple::put(&mut notification, "body", content.body.as_deref());
        apple::put(&mut notification, "image", content.image.as_deref());
        message.insert("notification".to_owned(), Value::Object(notification));
    }
    message.insert("data".to_owned(), Value::Object(data(id, content)));
    // Only Apple devices have Live Activities.
    if !activity {
        message.insert("android".to_owned(), Value::Object(android(id, content, overrides, channel)));
    }
    message.insert("webpush".to_owned(), Value::Object(webpush(id, content, overrides)));
    message.insert("apns".to_owned(), Value::Object(apple_part::without_headers(content, overrides)));
    if let Some(label) = &content.label {
        message.insert("fcm_options".to_owned(), json!({ "analytics_label": label }));
    }
    merge(&mut message, &overrides.0);
    for target in TARGETS {
        message.shift_remove(target);
    }
    message
}

/// FCM's `data`, which has texts only. Strings stay as they are, other values become their JSON, `null` is left out.
fn data(id: NotificationId, content: &Content) -> Map<String, Value> {
    let mut data = Map::new();
    for (name, value) in content.data.iter().filter(|(_, value)| !value.is_null()) {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        data.insert(name.clone(), text.into());
    }
    apple::put(&mut data, "url", content.url.as_deref());
    data.insert("pushpost".to_owned(), id.to_string().into());
    data
}

fn android(
    id: NotificationId,
    content: &Content,
    overrides: &Overrides,
    channel: Option<&str>,
) -> Map<String, Value> {
    let shown =
        has_texts(content) || overrides.has_notification() || overrides.fills(&["android", "notification"]);
    // The push wakes the app and shows nothing.
    let quiet = !shown && apple_part::implied_push_type(content, overrides) == PushType::Background;
    let urgent = match content.priority {
        Priority::High => true,
        Priority::Normal => !quiet,
        Priority::Low => false,
    };
    let mut android = Map::new();
    android.insert("priority".to_owned(), if urgent { "HIGH" } else { "NORMAL" }.into());
    if !shown {
        // Only a chosen key is sent: a device keeps messages of four keys and drops those of others
        // (docs/providers.md#fcm-message).
        apple::put(&mut android, "collapse_key", content.collapse_key.as_deref());
        return android;
    }
    let mut notification = Map::new();
    apple::put(&mut notification, "sound", content.sound.as_deref());
    if let Some(count) = content.badge.filter(|badge| *badge > 0) {
        notification.insert("notification_count".to_owned(), count.into());
    }
    notification.insert("tag".to_owned(), tag(id, content).into());
    apple::put(&mut notification, "channel_id", content.channel.as_deref().or(channel));
    android.insert("notification".to_owned(), Value::Object(notification));
    android
}

/// The `webpush` part, for browsers. A header that an override names, in any case, is left to the override.
fn webpush(id: NotificationId, content: &Content, overrides: &Overrides) -> Map<String, Value> {
    let urgency = match content.priority {
        Priority::High => "high",
        Priority::Normal => "normal",
        Priority::Low => "low",
    };
    let named = overrides.object(&["webpush", "headers"]);
    let mut headers = Map::new();
    for (name, value) in [(WEB_TTL, Value::Null), (WEB_URGENCY, urgency.into())] {
        if !named.keys().any(|given| given.eq_ignore_ascii_case(name)) {
            headers.insert(name.to_owned(), value);
        }
    }
    let mut webpush = Map::new();
    webpush.insert("headers".to_owned(), Value::Object(headers));
    let shown =
        has_texts(content) || overrides.has_notification() || overrides.fills(&["webpush", "notification"]);
    if shown {
        webpush.insert("notification".to_owned(), json!({ "tag": tag(id, content) }));
    }
    if let Some(url) = content.url.as_deref().filter(|url| is_https(url)) {
        webpush.insert("fcm_options".to_owned(), json!({ "link": url }));
    }
    webpush
}

/// The tag of the banner. A later banner with the same tag replaces it.
fn tag(id: NotificationId, content: &Content) -> String {
    content.collapse_key.clone().unwrap_or_else(|| id.to_string())
}

/// Whether the URL is https. FCM refuses other links (docs/providers.md#fcm-message).
fn is_https(url: &str) -> bool {
    let parsed = url.parse::<http::Uri>();
    parsed
        .is_ok_and(|uri| uri.scheme_str() == Some("https") && uri.host().is_some_and(|host| !host.is_empty()))
}
