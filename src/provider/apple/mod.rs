//! The `aps` dictionary and the APNs headers, shared by APNs requests and the `apns` part of FCM messages.

mod overrides;
mod push_type;

use serde_json::{Map, Value, json};

pub(super) use overrides::{
    AppleMember, OVERRIDE_MEMBERS, PUSH_TYPE_PATH, header, headers, is_empty, kind, member_of_aps, payload,
    push_type,
};
pub(super) use push_type::PushType;

use super::Expiry;
use crate::domain::{
    App, COLLAPSE_KEY_MAX, Content, ErrorLocation, InputCode, NotificationId, ValidationError,
    as_whole_number, is_collapse_key,
};

/// The configured APNs topics of the app. Requests may name these only.
pub(super) fn topics(app: &App) -> &[String] {
    app.provider_values(super::apns::PLATFORM, super::apns::TOPICS)
}

/// These four headers may be overridden by a request.
pub(super) const PUSH_TYPE: &str = "apns-push-type";
pub(super) const PRIORITY: &str = "apns-priority";
pub(super) const COLLAPSE_ID: &str = "apns-collapse-id";
pub(super) const TOPIC: &str = "apns-topic";
/// The expiry header, which a request may not override.
pub(super) const EXPIRATION: &str = "apns-expiration";

/// The `apns-expiration` in UNIX seconds, rounded up and never in the past. 0 means: deliver at once or drop.
///
/// It depends on `expires_at` only, where possible, so that all devices of a notification get the same value.
pub(super) fn expiration(expiry: Expiry) -> u64 {
    if expiry.once {
        return 0;
    }
    let end = expiry.expires_at.timestamp() + i64::from(expiry.expires_at.timestamp_subsec_nanos() > 0);
    u64::try_from(end.max(expiry.now.timestamp() + 1)).unwrap_or_default()
}

/// Which side writes the visible text of the alert.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Alert {
    /// Pushpost writes the alert.
    Written,
    /// FCM writes title and body from its own `notification`. An `alert` in `aps` would replace them
    /// (docs/providers.md#fcm-message).
    ByFcm,
}

/// The `aps` dictionary, before overrides (docs/providers.md#apns-payload).
pub(super) fn aps(content: &Content, alert: Alert) -> Map<String, Value> {
    let mut aps = Map::new();
    if content.silent {
        aps.insert("content-available".to_owned(), json!(1));
        return aps;
    }
    // FCM has no subtitle, so content with a subtitle needs the whole alert.
    if alert == Alert::Written || content.subtitle.is_some() {
        let mut texts = Map::new();
        put(&mut texts, "title", content.title.as_deref());
        put(&mut texts, "subtitle", content.subtitle.as_deref());
        put(&mut texts, "body", content.body.as_deref());
        if !texts.is_empty() {
            aps.insert("alert".to_owned(), Value::Object(texts));
        }
    }
    if let Some(badge) = content.badge {
        aps.insert("badge".to_owned(), json!(badge));
    }
    put(&mut aps, "sound", content.sound.as_deref());
    put(&mut aps, "category", content.category.as_deref());
    put(&mut aps, "thread-id", content.thread.as_deref());
    if content.image.is_some() {
        aps.insert("mutable-content".to_owned(), json!(1));
    }
    aps
}

/// Inserts a text unless it is `None`.
pub(super) fn put(into: &mut Map<String, Value>, name: &str, text: Option<&str>) {
    if let Some(text) = text {
        into.insert(name.to_owned(), text.into());
    }
}

/// The `apns-priority` before overrides. APNs allows only 5 for background pushes (docs/providers.md#apns-push-types).
pub(super) fn priority(content: &Content, push_type: PushType) -> &'static str {
    let patient = content.silent
        || push_type == PushType::Background
        || content.priority == crate::domain::Priority::Low;
    if patient { "5" } else { "10" }
}

/// The `apns-collapse-id`: the chosen collapse key, else the notification's id for alerts. With the id, a resend shows
/// one banner instead of two.
pub(super) fn collapse_id(content: &Content, push_type: PushType, id: NotificationId) -> Option<String> {
    let visible = !content.silent && push_type == PushType::Alert;
    content.collapse_key.clone().or_else(|| visible.then(|| id.to_string()))
}

/// Whether an `aps` dictionary has an alert, a badge or a sound.
pub(super) fn shows_something(aps: Option<&Value>) -> bool {
    let given = |name| aps.and_then(|aps| aps.get(name)).is_some_and(|value| !value.is_null());
    ["alert", "badge", "sound"].into_iter().any(given)
}

/// Whether an `aps` dictionary shows something or wakes the app.
pub(super) fn has_effect(aps: Option<&Value>) -> bool {
    shows_something(aps) || wakes(aps)
}

/// Whether an `aps` dictionary wakes the app.
pub(super) fn wakes(aps: Option<&Value>) -> bool {
    aps.and_then(|aps| aps.get("content-available")).and_then(as_whole_number) == Some(1)
}

/// Faults of overridden headers, at most 1,000. `push_type` applies if the headers name none; `topics` are the
/// configured topics.
pub(super) fn check_headers(
    headers: &Map<String, Value>,
    pointer: &str,
    push_type: PushType,
    topics: &[String],
) -> Vec<ValidationError> {
    let named = headers.get(PUSH_TYPE).and_then(Value::as_str).and_then(PushType::parse);
    let push_type = named.unwrap_or(push_type);
    let faults =
        headers.iter().filter_map(|(name, value)| check_header(name, value, pointer, push_type, topics));
    faults.take(1_000).collect()
}

fn check_header(
    name: &str,
    value: &Value,
    pointer: &str,
    push_type: PushType,
    topics: &[String],
) -> Option<ValidationError> {
    let fault =
        |code, detail: &str| Some(ValidationError::at(ErrorLocation::member(pointer, name), code, detail));
    if ![PUSH_TYPE, PRIORITY, COLLAPSE_ID, TOPIC].contains(&name) {
        return fault(InputCode::NotOverridable, "this header can't be overridden");
    }
    let text = match value {
        Value::Null => return None,
        Value::String(text) => text.as_str(),
        _ => return fault(InputCode::WrongType, "a header's value is a string"),
    };
    match name {
        PUSH_TYPE if PushType::parse(text).is_none() => {
            let known = PushType::ALL.map(PushType::as_str);
            fault(InputCode::BadHeader, "not a push type that can be sent")
                .map(|f| f.with("supported", known.to_vec()))
        }
        PRIORITY if !["1", "5", "10"].contains(&text) => {
            fault(InputCode::BadHeader, "a priority is 1, 5 or 10")
        }
        PRIORITY if push_type == PushType::Background && text != "5" => {
            fault(InputCode::BadHeader, "a background push has priority 5 only")
        }
        COLLAPSE_ID if !is_collapse_key(text) => fault(
            InputCode::BadHeader,
            "a collapse id is 1 to 64 printable ASCII characters without spaces at its ends",
        )
        .map(|f| f.with("limit", COLLAPSE_KEY_MAX).with("size", text.len())),
        TOPIC if !topics.iter().any(|topic| is_topic(text, topic, push_type)) => {
            fault(InputCode::NotOverridable, "the configuration names no such topic")
        }
        _ => None,
    }
}

/// Whether `text` is the configured topic, with or without the suffix of the push type.
fn is_topic(text: &str, topic: &str, push_type: PushType) -> bool {
    text.strip_prefix(topic).is_some_and(|rest| rest.is_empty() || rest == push_type.topic_suffix())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(headers: Value, push_type: PushType) -> Vec<(String, &'static str)> {
        let Value::Object(headers) = headers else { panic!("an object") };
        check_headers(&headers, "#/apns/headers", push_type, &["com.example.shop".to_owned()])
            .into_iter()
            .map(|fault| {
                let ErrorLocation::Pointer(pointer) = fault.place else { panic!("a pointer") };
                (pointer.strip_prefix("#/apns/headers/").expect("below").to_owned(), fault.code.as_str())
            })
            .collect()
    }

    fn one(name: &str, value: &str, push_type: PushType) -> Option<&'static str> {
        codes(json!({ name: value }), push_type).first().map(|(_, code)| *code)
    }

    #[test]
    fn only_four_headers_may_be_overridden() {
        for name in
            ["apns-expiration", "apns-id", "authorization", "host", ":path", "Apns-Priority", "content-type"]
        {
            assert_eq!(one(name, "0", PushType::Alert), Some("not_overridable"), "{name}");
        }
        let all = json!({"apns-push-type":"alert","apns-priority":"1","apns-collapse-id":"c","apns-topic":"com.example.shop"});
        assert_eq!(codes(all, PushType::Alert), []);
        let nothing =
            json!({"apns-push-type":null,"apns-priority":null,"apns-collapse-id":null,"apns-topic":null});
        assert_eq!(codes(nothing, PushType::Alert), []);
    }

    #[test]
    fn values_are_strings_that_apns_takes() {
        assert_eq!(
            codes(json!({"apns-priority":10}), PushType::Alert),
            [("apns-priority".to_owned(), "wrong_type")]
        );
        for (name, wrong) in [
            ("apns-push-type", "mdm"),
            ("apns-push-type", "Alert"),
            ("apns-priority", "2"),
            ("apns-priority", ""),
            ("apns-collapse-id", "a\nb"),
            ("apns-collapse-id", ""),
            ("apns-collapse-id", " a"),
            ("apns-collapse-id", "é"),
            ("apns-collapse-id", &"x".repeat(65)),
        ] {
            assert_eq!(one(name, wrong, PushType::Alert), Some("bad_header"), "{name}: {wrong}");
        }
        assert_eq!(one("apns-collapse-id", &"x".repeat(64), PushType::Alert), None);
    }

    #[test]
    fn background_takes_priority_5_only() {
        assert_eq!(one("apns-priority", "10", PushType::Background), Some("bad_header"));
        assert_eq!(one("apns-priority", "5", PushType::Background), None);
        let named = json!({"apns-push-type":"background","apns-priority":"1"});
        assert_eq!(codes(named, PushType::Alert), [("apns-priority".to_owned(), "bad_header")]);
    }

    #[test]
    fn a_topic_is_a_configured_one_with_or_without_the_suffix() {
        for (topic, push_type, fine) in [
            ("com.example.shop", PushType::Alert, true),
            ("com.example.shop", PushType::Voip, true),
            ("com.example.shop.voip", PushType::Voip, true),
            ("com.example.shop.voip", PushType::Alert, false),
            ("com.example.shop2", PushType::Alert, false),
            ("com.example", PushType::Alert, false),
            ("", PushType::Alert, false),
        ] {
            let expected = (!fine).then_some("not_overridable");
            assert_eq!(one("apns-topic", topic, push_type), expected, "{topic} {push_type:?}");
        }
    }
}
