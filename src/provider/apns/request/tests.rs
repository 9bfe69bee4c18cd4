//! The rendering of notifications for APNs, and the overrides that are refused.

use chrono::{DateTime, TimeDelta};
use tokio::time::Instant;
use uuid::Uuid;

use super::*;
use crate::domain::Priority;
use crate::provider::Validity;
use crate::provider::apns;

const TOPIC: &str = "com.example.shop";

fn id() -> NotificationId {
    NotificationId(Uuid::from_u128(7))
}

fn content(json: Value) -> Content {
    serde_json::from_value(json).expect("content")
}

fn header(content: &Content, name: &str) -> Option<String> {
    let prepared = prepare(id(), content, TOPIC);
    prepared.headers.get(name).map(|value| value.to_str().expect("ASCII").to_owned())
}

fn body(content: &Content) -> Value {
    serde_json::from_slice(prepare(id(), content, TOPIC).body()).expect("JSON")
}

fn with_headers(headers: Value) -> Content {
    content(json!({"title": "Hi", "apns": {"headers": headers}}))
}

/// The order message to a user with two phones.
#[test]
fn the_order_message_is_rendered_completely() {
    let content = content(json!({
        "title": "Order shipped", "body": "Your order #789 has been dispatched.", "sound": "default", "badge": 1,
        "category": "ORDER", "thread": "orders", "url": "myapp://orders/789",
        "image": "https://cdn.example.com/789.jpg", "data": {"order_id": "789", "lines": 3},
        "collapse_key": "order-789",
        "apns": {"payload": {"aps": {"interruption-level": "time-sensitive"}}},
        "fcm": {"android": {"notification": {"channel_id": "orders"}}}
    }));
    assert_eq!(
        body(&content),
        json!({
            "aps": {
                "alert": {"title": "Order shipped", "body": "Your order #789 has been dispatched."},
                "badge": 1, "sound": "default", "category": "ORDER", "thread-id": "orders", "mutable-content": 1,
                "interruption-level": "time-sensitive"
            },
            "order_id": "789", "lines": 3, "url": "myapp://orders/789",
            "fcm_options": {"image": "https://cdn.example.com/789.jpg"}, "pushpost": id().to_string()
        })
    );
    for (name, value) in [
        ("apns-topic", TOPIC),
        ("apns-push-type", "alert"),
        ("apns-priority", "10"),
        ("apns-collapse-id", "order-789"),
    ] {
        assert_eq!(header(&content, name).as_deref(), Some(value), "{name}");
    }
}

#[test]
fn a_silent_notification_is_a_background_push_without_visible_content() {
    let content = content(json!({
        "silent": true, "priority": "high", "data": {"sync": true}, "subtitle": "x", "image": "https://x/y.png"
    }));
    let expected = json!({"aps": {"content-available": 1}, "sync": true, "pushpost": id().to_string()});
    assert_eq!(body(&content), expected);
    assert_eq!(header(&content, "apns-push-type").as_deref(), Some("background"));
    assert_eq!(header(&content, "apns-priority").as_deref(), Some("5"));
    assert_eq!(header(&content, "apns-collapse-id"), None);
    let chosen = Content { collapse_key: Some("sync".to_owned()), ..content };
    assert_eq!(header(&chosen, "apns-collapse-id").as_deref(), Some("sync"));
}

#[test]
fn priority_follows_the_notification_unless_overridden() {
    for (priority, expected) in [(Priority::High, "10"), (Priority::Normal, "10"), (Priority::Low, "5")] {
        let content = Content { priority, ..with_headers(json!({})) };
        assert_eq!(header(&content, "apns-priority").as_deref(), Some(expected));
    }
    let background = with_headers(json!({"apns-push-type": "background"}));
    assert_eq!(header(&background, "apns-priority").as_deref(), Some("5"));
    let sleepy = with_headers(json!({"apns-priority": "1"}));
    assert_eq!(header(&sleepy, "apns-priority").as_deref(), Some("1"));
}

#[test]
fn a_collapse_id_is_derived_for_alerts_and_can_be_chosen_or_removed() {
    let derived = header(&with_headers(json!({})), "apns-collapse-id");
    assert_eq!(derived, Some(id().to_string()));
    let chosen = header(&with_headers(json!({"apns-collapse-id": "mine"})), "apns-collapse-id");
    assert_eq!(chosen.as_deref(), Some("mine"));
    assert_eq!(header(&with_headers(json!({"apns-collapse-id": null})), "apns-collapse-id"), None);
    assert_eq!(header(&with_headers(json!({"apns-push-type": "voip"})), "apns-collapse-id"), None);
    let unsendable = Content { collapse_key: Some("a\nb".to_owned()), ..with_headers(json!({})) };
    assert_eq!(header(&unsendable, "apns-collapse-id"), None);
}

#[test]
fn the_topic_follows_the_push_type_and_says_where_it_came_from() {
    let topic = |headers| {
        let prepared = prepare(id(), &with_headers(headers), TOPIC);
        (prepared.headers["apns-topic"].to_str().expect("ASCII").to_owned(), prepared.topic())
    };
    assert_eq!(topic(json!({})), (TOPIC.to_owned(), TopicOrigin::Configured));
    let voip = (format!("{TOPIC}.voip"), TopicOrigin::PushType);
    assert_eq!(topic(json!({"apns-push-type": "voip"})), voip);
    assert_eq!(topic(json!({"apns-push-type": "voip", "apns-topic": voip.0})), voip);
    let plain = json!({"apns-push-type": "voip", "apns-topic": TOPIC});
    assert_eq!(topic(plain), (TOPIC.to_owned(), TopicOrigin::Override));
    // A push type or topic that leaves the topic unchanged does not count as an override.
    for same in
        [json!({"apns-push-type": "alert"}), json!({"apns-push-type": "background", "apns-topic": TOPIC})]
    {
        assert_eq!(topic(same), (TOPIC.to_owned(), TopicOrigin::Configured));
    }
    let other = topic(json!({"apns-topic": "com.example.other"}));
    assert_eq!(other, ("com.example.other".to_owned(), TopicOrigin::Override));
}

#[test]
fn overrides_of_the_payload_come_last() {
    let content = content(json!({
        "title": "Hi", "badge": 3, "url": "a:b", "data": {"k": 1},
        "apns": {"payload": {"aps": {"badge": null, "alert": {"title-loc-key": "T"}}, "k": 2, "url": null}}
    }));
    let expected = json!({
        "aps": {"alert": {"title": "Hi", "title-loc-key": "T"}}, "k": 2, "pushpost": id().to_string()
    });
    assert_eq!(body(&content), expected);
}

#[test]
fn only_path_id_expiration_and_bearer_differ_per_attempt() {
    let prepared = prepare(id(), &with_headers(json!({})), TOPIC);
    let token = DeviceToken::parse(apns::PLATFORM, "ABCDEF").expect("hexadecimal");
    let now = DateTime::from_timestamp_millis(1_000_000_000_600).expect("in range");
    let attempt = Attempt {
        token: &token,
        message_id: Uuid::from_u128(0xAB),
        now,
        expires_at: now + TimeDelta::milliseconds(400),
        once: false,
        deadline: Instant::now(),
        validity: Validity(&|| true),
        exchange: None,
    };
    let head = |attempt: &Attempt<'_>| {
        let authority = Authority::from_static("api.push.apple.com");
        prepared.head(&authority, attempt, HeaderValue::from_static("bearer x.y.z"))
    };
    let request = head(&attempt);
    assert_eq!(request.method(), "POST");
    assert_eq!(request.uri(), "https://api.push.apple.com/3/device/abcdef");
    assert_eq!(request.headers()["apns-id"], "00000000-0000-0000-0000-0000000000ab");
    assert_eq!(request.headers()["authorization"], "bearer x.y.z");
    assert_eq!(request.headers()["apns-expiration"], "1000000001");
    assert_eq!(request.headers().len(), prepared.headers.len());
    assert!(request.headers().values().all(|value| !value.is_empty()), "{:?}", request.headers());
    let expiration = |attempt: &Attempt<'_>| head(attempt).headers()["apns-expiration"].clone();
    let longer = Attempt { expires_at: now + TimeDelta::milliseconds(3_600_401), ..attempt.clone() };
    assert_eq!(expiration(&longer), "1000003602");
    let over = Attempt { expires_at: now, ..attempt.clone() };
    assert_eq!(expiration(&over), "1000000001", "never in the past");
    let once = Attempt { once: true, ..attempt.clone() };
    assert_eq!(expiration(&once), "0");
}

#[test]
fn a_body_over_the_limit_of_its_push_type_is_a_fault_with_its_figures() {
    let sized = |push_type: &str, target: usize| {
        let mut content = with_headers(json!({"apns-push-type": push_type}));
        content.body = Some(String::new());
        let empty = prepare(id(), &content, "").size_and_limit().0;
        content.body = Some("x".repeat(target - empty));
        check_size(&content, NotificationId(Uuid::nil()))
    };
    for (push_type, limit) in [("alert", 4096), ("voip", 5120)] {
        assert_eq!(sized(push_type, limit), None);
        let fault = sized(push_type, limit + 1).expect("a byte too many");
        assert_eq!(fault.code, InputCode::PayloadTooLarge);
        assert_eq!(
            Value::Object(fault.facts),
            json!({"platform": "apns", "size": limit + 1, "limit": limit})
        );
    }
}

#[test]
fn an_override_may_supply_missing_content() {
    for (json, supplies) in [
        (json!({}), false),
        (json!({"data": {"a": 1}}), false),
        (json!({"apns": {"payload": {"aps": {"alert": "Hi"}}}}), true),
        (json!({"apns": {"payload": {"aps": {"alert": null}}}}), false),
        (json!({"apns": {"payload": {"aps": {"badge": 0}}}}), true),
        (json!({"apns": {"payload": {"aps": {"category": "X"}}}}), false),
        (json!({"apns": {"headers": {"apns-push-type": "background"}}}), false),
        (json!({"apns": {"payload": {"aps": {"content-available": 1}}}}), true),
        (json!({"apns": {"headers": {"apns-push-type": "voip"}}}), false),
        (json!({"apns": {"headers": {"apns-push-type": "voip"}}, "data": {"call": 1}}), true),
        (
            json!({"apns": {"headers": {"apns-push-type": "widgets"}, "payload": {"aps": {"content-changed": true}}}}),
            true,
        ),
        (json!({"apns": {"headers": {"apns-push-type": "location"}}}), true),
    ] {
        assert_eq!(supplies_content(&content(json.clone())), supplies, "{json}");
    }
}

#[test]
fn content_of_the_fcm_part_alone_is_not_sent_to_apns() {
    let wakes = json!({"payload": {"aps": {"content-available": 1}}});
    for (is_something, json) in [
        (false, json!({"fcm": {"notification": {"title": "A"}}})),
        (false, json!({"fcm": {"apns": wakes}})),
        (false, json!({"fcm": {"apns": wakes}, "data": {"k": 1}, "category": "C", "image": "https://a/b"})),
        (false, json!({"fcm": {"apns": wakes}, "apns": {"payload": {"k": 1}}})),
        (false, json!({"fcm": {"apns": wakes}, "apns": {"headers": {"apns-push-type": "voip"}}})),
        (false, json!({"badge": 1, "apns": {"payload": {"aps": null}}})),
        (true, json!({"title": "A", "fcm": {"notification": {"title": "B"}}})),
        (true, json!({"silent": true})),
        (true, json!({"silent": true, "apns": {"payload": {"k": 1}}})),
        (true, json!({"badge": 0, "apns": {"headers": {"apns-priority": "5"}}})),
        (true, json!({"apns": wakes})),
        (true, json!({"apns": {"payload": {"aps": {"alert": {"title": "A"}}}}})),
        (true, json!({"apns": {"headers": {"apns-push-type": "location"}}})),
        (true, json!({"data": {"k": 1}, "apns": {"headers": {"apns-push-type": "voip"}}})),
    ] {
        assert_eq!(has_something_to_send(&content(json.clone())), is_something, "{json}");
    }
}
