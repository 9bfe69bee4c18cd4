//! What a notification looks like to FCM, and what a request may not override.

use chrono::{DateTime, TimeDelta};
use uuid::Uuid;

use super::*;

fn id() -> NotificationId {
    NotificationId(Uuid::from_u128(7))
}

fn life() -> Life {
    let now = DateTime::from_timestamp_millis(1_000_000_000_600).expect("in range");
    Life { now, expires_at: now + TimeDelta::milliseconds(3_599_500), once: false }
}

fn content(json: Value) -> Content {
    serde_json::from_value(json).expect("content")
}

fn sent(content: &Content, token: &str, life: Life) -> Value {
    serde_json::from_slice(&prepare(id(), content, None).body(token, life)).expect("JSON")
}

fn message_of(json: Value) -> Value {
    sent(&content(json), "t", life())["message"].take()
}

/// The order message to a user with two phones.
#[test]
fn the_order_message_as_the_ledger_has_it() {
    let content = content(json!({
        "title": "Order shipped", "body": "Your order #789 has been dispatched.", "sound": "default", "badge": 1,
        "category": "ORDER", "thread": "orders", "url": "myapp://orders/789",
        "image": "https://cdn.example.com/789.jpg", "data": {"order_id": "789", "lines": 3},
        "collapse_key": "order-789",
        "apns": {"payload": {"aps": {"interruption-level": "time-sensitive"}}},
        "fcm": {"android": {"notification": {"channel_id": "orders"}}}
    }));
    let expected = json!({"message": {
        "token": "fcm-token-7",
        "notification": {"title": "Order shipped", "body": "Your order #789 has been dispatched.",
            "image": "https://cdn.example.com/789.jpg"},
        "data": {"order_id": "789", "lines": "3", "url": "myapp://orders/789", "pushpost": id().to_string()},
        "android": {"priority": "HIGH", "ttl": "3600s",
            "notification": {"sound": "default", "notification_count": 1, "tag": "order-789", "channel_id": "orders"}},
        "apns": {
            "headers": {"apns-push-type": "alert", "apns-priority": "10", "apns-expiration": "1000003601",
                "apns-collapse-id": "order-789"},
            "payload": {"aps": {"badge": 1, "sound": "default", "category": "ORDER", "thread-id": "orders",
                "mutable-content": 1, "interruption-level": "time-sensitive"}},
            "fcm_options": {"image": "https://cdn.example.com/789.jpg"}}
    }});
    assert_eq!(sent(&content, "fcm-token-7", life()), expected);
}

#[test]
fn a_plain_one_has_a_derived_tag_but_never_a_derived_collapse_key() {
    let expected = json!({
        "token": "t", "notification": {"title": "Hi"}, "data": {"pushpost": id().to_string()},
        "android": {"priority": "NORMAL", "ttl": "3600s", "notification": {"tag": id().to_string()}},
        "apns": {"headers": {"apns-push-type": "alert", "apns-priority": "5", "apns-expiration": "1000003601",
            "apns-collapse-id": id().to_string()}},
        "fcm_options": {"analytics_label": "promo"}
    });
    assert_eq!(
        message_of(json!({"title": "Hi", "priority": "low", "badge": 0, "label": "promo"}))["apns"]["payload"],
        json!({"aps": {"badge": 0}})
    );
    assert_eq!(message_of(json!({"title": "Hi", "priority": "low", "label": "promo"})), expected);
}

#[test]
fn a_silent_one_is_data_only_and_background_for_apple() {
    let message = message_of(json!({
        "silent": true, "priority": "high", "collapse_key": "sync", "channel": "c", "image": "https://x/y", "data": {"a": [1]}
    }));
    let expected = json!({
        "token": "t", "data": {"a": "[1]", "pushpost": id().to_string()},
        "android": {"priority": "HIGH", "ttl": "3600s", "collapse_key": "sync"},
        "apns": {"headers": {"apns-push-type": "background", "apns-priority": "5", "apns-expiration": "1000003601",
            "apns-collapse-id": "sync"}, "payload": {"aps": {"content-available": 1}}}
    });
    assert_eq!(message, expected);
    let plain = message_of(json!({"silent": true}));
    assert_eq!(plain["android"], json!({"priority": "NORMAL", "ttl": "3600s"}));
    assert!(plain["apns"]["headers"].get("apns-collapse-id").is_none());
}

#[test]
fn a_subtitle_brings_the_whole_alert_since_it_replaces_fcm_s() {
    let aps = |json| message_of(json)["apns"]["payload"]["aps"].take();
    let whole = json!({"alert": {"title": "T", "subtitle": "S", "body": "B"}});
    assert_eq!(aps(json!({"title": "T", "body": "B", "subtitle": "S"})), whole);
    let partial = json!({"alert": {"title": "T", "body": "B", "launch-image": "L"}});
    let own = json!({"payload": {"aps": {"alert": {"launch-image": "L"}}}});
    assert_eq!(aps(json!({"title": "T", "body": "B", "apns": own})), partial);
    assert_eq!(aps(json!({"title": "T", "body": "B", "fcm": {"apns": own}})), partial);
}

#[test]
fn the_configured_channel_serves_content_that_names_none() {
    let channel = |json: Value| {
        let body = prepare(id(), &content(json), Some("default")).body("t", life());
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        body["message"]["android"]["notification"]["channel_id"].clone()
    };
    assert_eq!(channel(json!({"title": "Hi"})), "default");
    assert_eq!(channel(json!({"title": "Hi", "channel": "own"})), "own");
    let camel =
        json!({"title": "Hi", "channel": "own", "fcm": {"android": {"notification": {"channelId": "over"}}}});
    assert_eq!(channel(camel), "over", "one spelling, so nothing is there twice");
}

#[test]
fn overrides_come_last_but_never_over_token_and_life() {
    let message = message_of(json!({
        "title": "Hi", "apns": {"headers": {"apns-priority": "1", "apns-collapse-id": null}},
        "fcm": {"android": null, "apns": {"payload": {"aps": {"sound": "x"}}}, "notification": {"body": "B"},
            "data": {"k": "v"}, "token": "other"}
    }));
    assert_eq!(message["token"], "t");
    assert_eq!(message["android"], json!({"ttl": "3600s"}));
    assert_eq!(message["notification"], json!({"title": "Hi", "body": "B"}));
    assert_eq!(message["data"], json!({"pushpost": id().to_string(), "k": "v"}));
    let headers = json!({"apns-push-type": "alert", "apns-priority": "1", "apns-expiration": "1000003601"});
    assert_eq!(message["apns"], json!({"headers": headers, "payload": {"aps": {"sound": "x"}}}));
    let gone = message_of(json!({"title": "Hi", "fcm": {"apns": null}}));
    assert_eq!(gone["apns"], json!({"headers": {"apns-expiration": "1000003601"}}));
    let next = message_of(json!({"title": "Hi", "fcm": {"androidV2": {"background_sync": {}}}}));
    assert_eq!(next["android_v2"], json!({"ttl": "3600s", "background_sync": {}}));
    assert!(next.get("android").is_none());
}

/// A member that FCM refuses anyway must not leave `token` twice in the body.
#[test]
fn a_target_that_slipped_through_is_still_not_sent() {
    let content = content(json!({"title": "Hi", "fcm": {"token": "other", "topic": "all"}}));
    let body = prepare(id(), &content, None).body("t", life());
    let text = std::str::from_utf8(&body).expect("UTF-8");
    assert_eq!(text.matches("\"token\"").count(), 1);
    assert!(!text.contains("topic"));
}

#[test]
fn tokens_are_escaped_and_what_remains_is_spliced() {
    let content = content(json!({"title": "\"}}"}));
    let token = r#"a"b\c"#;
    let end = life();
    let message = sent(&content, token, Life { now: end.expires_at - TimeDelta::milliseconds(400), ..end });
    assert_eq!(message["message"]["token"], token);
    assert_eq!(message["message"]["android"]["ttl"], "1s");
    assert_eq!(message["message"]["apns"]["headers"]["apns-expiration"], "1000003601");
    let once = sent(&content, token, Life { once: true, ..end });
    assert_eq!(once["message"]["android"]["ttl"], "0s");
    assert_eq!(once["message"]["apns"]["headers"]["apns-expiration"], "0");
}

#[test]
fn a_clock_behind_postgres_asks_for_no_more_than_fcm_takes() {
    let longest = life().now + TimeDelta::days(28);
    let behind = Life { expires_at: longest + TimeDelta::milliseconds(2), ..life() };
    let message = sent(&content(json!({"title": "a"})), "t", behind);
    assert_eq!(message["message"]["android"]["ttl"], "2419200s");
}

#[test]
fn message_and_apns_payload_are_measured_apart() {
    let empty = content(json!({"title": ""}));
    let (base, limit) = prepare(id(), &empty, None).size_and_limit();
    assert_eq!(limit, 4096);
    let largest = Life { expires_at: life().now + TimeDelta::days(28), ..life() };
    let mut message = sent(&empty, "t", largest)["message"].take();
    let object = message.as_object_mut().expect("an object");
    object.shift_remove("token");
    object.shift_remove("apns");
    assert_eq!(message.to_string().len(), base, "the JSON without token and apns");

    let titled = |size: usize| content(json!({"title": "x".repeat(size - base)}));
    assert_eq!(check_size(&titled(4096), id(), None), []);
    let faults = check_size(&titled(4097), id(), None);
    let facts = faults.into_iter().map(|fault| Value::Object(fault.facts)).collect::<Vec<_>>();
    assert_eq!(facts, [json!({"platform": "fcm", "part": "message", "size": 4097, "limit": 4096})]);

    let apple = content(json!({"title": "x", "apns": {"payload": {"k": "x".repeat(4096)}}}));
    let faults = check_size(&apple, id(), None);
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].facts["part"], "apns.payload");
}

#[test]
fn faults_of_the_fcm_part_include_its_apns_headers() {
    let faulty = content(json!({"title": "Hi", "fcm": {"topic": "all", "apns": {"headers": {
        "apns-expiration": "0", "apns-priority": "10", "apns-push-type": "background"}}}}));
    let codes: Vec<_> = check_overrides(&faulty, &[]).into_iter().map(|fault| fault.code.as_str()).collect();
    assert_eq!(codes, ["not_overridable", "not_overridable", "bad_header"]);
}

#[test]
fn an_override_may_supply_what_the_fields_lack() {
    for (fcm, supplies) in [
        (json!({}), false),
        (json!({"data": {"a": "b"}}), false),
        (json!({"notification": {"title": null}}), false),
        (json!({"notification": {"title": "Hi"}}), true),
        (json!({"android": {"notification": {"title_loc_key": "T"}}}), true),
        (json!({"android": {"priority": "HIGH"}}), false),
        (json!({"apns": {"payload": {"aps": {"alert": "Hi"}}}}), true),
        (json!({"androidV2": {"remoteNotification": {"notification": {}}}}), true),
    ] {
        assert_eq!(supplies_content(&content(json!({"fcm": fcm}))), supplies, "{fcm}");
    }
}

#[test]
fn a_live_activity_s_token_is_noticed() {
    let with = |fcm: Value| prepare(id(), &content(json!({"title": "Hi", "fcm": fcm})), None).is_activity();
    assert!(with(json!({"apns": {"liveActivityToken": "t"}})));
    assert!(!with(json!({})));
}
