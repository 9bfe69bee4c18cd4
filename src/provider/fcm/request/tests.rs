//! The rendering of notifications for FCM, and the overrides that are refused.

use chrono::{DateTime, TimeDelta};
use serde_json::json;
use uuid::Uuid;

use super::*;

mod apple_part;

fn id() -> NotificationId {
    NotificationId(Uuid::from_u128(7))
}

fn expiry() -> Expiry {
    let now = DateTime::from_timestamp_millis(1_000_000_000_600).expect("in range");
    Expiry { now, expires_at: now + TimeDelta::milliseconds(3_599_500), once: false }
}

fn content(json: Value) -> Content {
    serde_json::from_value(json).expect("content")
}

fn sent(content: &Content, token: &str, expiry: Expiry) -> Value {
    serde_json::from_slice(&prepare(id(), content, None).body(token, expiry)).expect("JSON")
}

fn message_of(json: Value) -> Value {
    sent(&content(json), "t", expiry())["message"].take()
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
    let expected = json!({"message": {
        "token": "fcm-token-7",
        "notification": {"title": "Order shipped", "body": "Your order #789 has been dispatched.",
            "image": "https://cdn.example.com/789.jpg"},
        "data": {"order_id": "789", "lines": "3", "url": "myapp://orders/789", "pushpost": id().to_string()},
        "android": {"priority": "HIGH", "ttl": "3600s",
            "notification": {"sound": "default", "notification_count": 1, "tag": "order-789", "channel_id": "orders"}},
        "webpush": {"headers": {"TTL": "3600", "Urgency": "normal"}, "notification": {"tag": "order-789"}},
        "apns": {
            "headers": {"apns-push-type": "alert", "apns-priority": "10", "apns-expiration": "1000003601",
                "apns-collapse-id": "order-789"},
            "payload": {"aps": {"badge": 1, "sound": "default", "category": "ORDER", "thread-id": "orders",
                "mutable-content": 1, "interruption-level": "time-sensitive"}},
            "fcm_options": {"image": "https://cdn.example.com/789.jpg"}}
    }});
    assert_eq!(sent(&content, "fcm-token-7", expiry()), expected);
}

#[test]
fn a_plain_notification_has_a_derived_tag_but_no_derived_collapse_key() {
    let expected = json!({
        "token": "t", "notification": {"title": "Hi"}, "data": {"pushpost": id().to_string()},
        "android": {"priority": "NORMAL", "ttl": "3600s", "notification": {"tag": id().to_string()}},
        "webpush": {"headers": {"TTL": "3600", "Urgency": "low"}, "notification": {"tag": id().to_string()}},
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
fn a_silent_notification_is_data_only_and_background_for_apple() {
    let message = message_of(json!({
        "silent": true, "priority": "high", "collapse_key": "sync", "channel": "c", "image": "https://x/y", "data": {"a": [1]}
    }));
    let expected = json!({
        "token": "t", "data": {"a": "[1]", "pushpost": id().to_string()},
        "android": {"priority": "HIGH", "ttl": "3600s", "collapse_key": "sync"},
        "webpush": {"headers": {"TTL": "3600", "Urgency": "high"}},
        "apns": {"headers": {"apns-push-type": "background", "apns-priority": "5", "apns-expiration": "1000003601",
            "apns-collapse-id": "sync"}, "payload": {"aps": {"content-available": 1}}}
    });
    assert_eq!(message, expected);
    let plain = message_of(json!({"silent": true}));
    assert_eq!(plain["android"], json!({"priority": "NORMAL", "ttl": "3600s"}));
    assert!(plain["apns"]["headers"].get("apns-collapse-id").is_none());
}

#[test]
fn the_configured_channel_is_the_default() {
    let channel = |json: Value| {
        let body = prepare(id(), &content(json), Some("default")).body("t", expiry());
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
fn overrides_come_last_but_never_replace_token_and_expiry() {
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

/// An override of a target must not put `token` into the body a second time.
#[test]
fn a_stored_target_override_is_not_sent() {
    let content = content(json!({"title": "Hi", "fcm": {"token": "other", "topic": "all"}}));
    let body = prepare(id(), &content, None).body("t", expiry());
    let text = std::str::from_utf8(&body).expect("UTF-8");
    assert_eq!(text.matches("\"token\"").count(), 1);
    assert!(!text.contains("topic"));
}

#[test]
fn tokens_are_escaped_and_the_remaining_expiry_is_inserted() {
    let content = content(json!({"title": "\"}}"}));
    let token = r#"a"b\c"#;
    let end = expiry();
    let message = sent(&content, token, Expiry { now: end.expires_at - TimeDelta::milliseconds(400), ..end });
    assert_eq!(message["message"]["token"], token);
    assert_eq!(message["message"]["android"]["ttl"], "1s");
    assert_eq!(message["message"]["apns"]["headers"]["apns-expiration"], "1000003601");
    let once = sent(&content, token, Expiry { once: true, ..end });
    assert_eq!(once["message"]["android"]["ttl"], "0s");
    assert_eq!(once["message"]["apns"]["headers"]["apns-expiration"], "0");
}

#[test]
fn a_clock_behind_postgres_asks_for_no_more_than_fcm_takes() {
    let longest = expiry().now + TimeDelta::days(28);
    let behind = Expiry { expires_at: longest + TimeDelta::milliseconds(2), ..expiry() };
    let message = sent(&content(json!({"title": "a"})), "t", behind);
    assert_eq!(message["message"]["android"]["ttl"], "2419200s");
}

#[test]
fn message_and_apns_payload_have_separate_size_limits() {
    let empty = content(json!({"title": "x", "url": "https://example.com/"}));
    let (base, limit) = prepare(id(), &empty, None).size_and_limit();
    assert_eq!(limit, 4096);
    let largest = Expiry { expires_at: expiry().now + TimeDelta::days(28), ..expiry() };
    let mut message = sent(&empty, "t", largest)["message"].take();
    let object = message.as_object_mut().expect("an object");
    object.shift_remove("token");
    object.shift_remove("apns");
    object.shift_remove("webpush");
    assert_eq!(message.to_string().len(), base, "the JSON without token, apns and webpush");

    let titled =
        |size: usize| content(json!({"title": "x".repeat(size - base + 1), "url": "https://example.com/"}));
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
fn an_override_may_supply_missing_content() {
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
    let both = |json: Value| (supplies_content(&content(json.clone())), shows_something(&content(json)));
    let apns = |payload: Value| json!({"fcm": {"apns": {"live_activity_token": "t", "payload": payload}}});
    assert_eq!(both(apns(json!({"aps": {"event": "end"}}))), (true, true));
    assert_eq!(both(apns(json!({}))), (false, false));
    let halves = json!({"fcm": {"apns": {"live_activity_token": "t"}}, "apns": {"payload": {"aps": {"event": "end"}}}});
    assert_eq!(both(halves), (true, true));
    let wakes = json!({"fcm": {"apns": {"payload": {"aps": {"content-available": 1}}}}});
    assert_eq!(both(wakes), (true, false));
}

#[test]
fn without_a_text_android_gets_data_only() {
    for fields in
        [json!({"badge": 3}), json!({"sound": "default", "channel": "c"}), json!({"title": "", "badge": 0})]
    {
        let message = message_of(fields.clone());
        assert!(message.get("notification").is_none(), "{fields}");
        assert_eq!(message["android"], json!({"priority": "HIGH", "ttl": "3600s"}), "{fields}");
        assert!(message["webpush"].get("notification").is_none(), "{fields}");
        assert_eq!(message["apns"]["headers"]["apns-push-type"], "alert", "{fields}");
    }
    let collapsing = message_of(json!({"badge": 3, "collapse_key": "k"}));
    assert_eq!(collapsing["android"]["collapse_key"], "k");

    let set = message_of(json!({"badge": 3, "fcm": {"android": {"notification": {"title_loc_key": "T"}}}}));
    let tag = id().to_string();
    assert_eq!(
        set["android"]["notification"],
        json!({"notification_count": 3, "tag": tag, "title_loc_key": "T"})
    );
    assert!(set.get("notification").is_none());
    let for_all = message_of(json!({"sound": "s", "fcm": {"notification": {"title": "T"}}}));
    assert_eq!(for_all["notification"], json!({"title": "T"}));
    assert_eq!(for_all["android"]["notification"], json!({"sound": "s", "tag": tag}));
    assert_eq!(for_all["webpush"]["notification"], json!({"tag": tag}));
}

#[test]
fn null_in_data_is_left_out() {
    let message = message_of(json!({"title": "Hi", "data": {"a": null, "b": [null], "c": "null"}}));
    assert_eq!(message["data"], json!({"b": "[null]", "c": "null", "pushpost": id().to_string()}));
}

#[test]
fn a_browser_s_part_follows_the_fields_unless_overridden() {
    let web = |json: Value| message_of(json)["webpush"].take();
    let tag = id().to_string();
    let linked = web(json!({"title": "Hi", "priority": "high", "url": "https://example.com/a"}));
    let expected = json!({"headers": {"TTL": "3600", "Urgency": "high"}, "notification": {"tag": tag},
        "fcm_options": {"link": "https://example.com/a"}});
    assert_eq!(linked, expected);
    for url in ["myapp://orders", "http://example.com/", "https://", "https"] {
        assert!(web(json!({"title": "Hi", "url": url})).get("fcm_options").is_none(), "{url}");
    }
    let overridden = |webpush: Value| message_of(json!({"title": "Hi", "fcm": {"webpush": webpush}}));
    let own = overridden(json!({"headers": {"ttl": "60", "URGENCY": "very-low", "Topic": "t"},
        "notification": {"tag": null, "icon": "i"}}));
    let expected =
        json!({"headers": {"ttl": "60", "URGENCY": "very-low", "Topic": "t"}, "notification": {"icon": "i"}});
    assert_eq!(own["webpush"], expected);
    let without = overridden(json!({"headers": {"TTL": null}}));
    assert_eq!(without["webpush"]["headers"], json!({"Urgency": "normal"}));
    assert!(overridden(json!(null)).get("webpush").is_none());
    assert_eq!(overridden(json!({"headers": null}))["webpush"], json!({"notification": {"tag": tag}}));
}

#[test]
fn a_message_states_live_activities_and_overridden_headers() {
    let traits = |json: Value| {
        let traits = prepare(id(), &content(json), None).traits();
        (traits.activity, traits.overridden)
    };
    assert_eq!(traits(json!({"title": "Hi"})), (false, false));
    assert_eq!(traits(json!({"silent": true})), (false, false));
    assert_eq!(traits(json!({"title": "Hi", "fcm": {"apns": {"liveActivityToken": "t"}}})), (true, false));
    let headers = |headers: Value| json!({"title": "Hi", "fcm": {"apns": {"headers": headers}}});
    // Headers that leave the topic unchanged do not count as overrides.
    for same in [
        json!({"apns-push-type": "alert"}),
        json!({"apns-push-type": "background", "apns-priority": "5"}),
        json!({"apns-priority": "1", "apns-collapse-id": "c", "apns-topic": null}),
    ] {
        assert_eq!(traits(headers(same.clone())), (false, false), "{same}");
    }
    for other in [json!({"apns-push-type": "voip"}), json!({"apns-topic": "com.example.shop"})] {
        assert_eq!(traits(headers(other.clone())), (false, true), "{other}");
        assert_eq!(traits(json!({"title": "Hi", "apns": {"headers": other}})), (false, true));
    }
    let web = |headers: Value| json!({"title": "Hi", "fcm": {"webpush": {"headers": headers}}});
    assert_eq!(traits(web(json!({"ttl": "1", "urgency": "low", "Topic": "t"}))), (false, false));
    assert_eq!(traits(web(json!({"Authorization": "vapid t=a, k=b"}))), (false, true));
}

#[test]
fn content_for_apns_tokens_only_is_not_sent_to_fcm() {
    let of_kind = |kind: &str| json!({"headers": {"apns-push-type": kind}, "payload": {"k": 1}});
    let alert = json!({"payload": {"aps": {"alert": "A"}}});
    for (is_something, json) in [
        (false, json!({"apns": of_kind("voip")})),
        (
            false,
            json!({"apns": of_kind("location"), "channel": "c", "fcm": {"android": {"priority": "HIGH"}}}),
        ),
        (false, json!({"apns": of_kind("liveactivity"), "fcm": {"fcm_options": {"analytics_label": "a"}}})),
        (false, json!({"apns": alert, "fcm": {"apns": null}})),
        // An FCM token may belong to an Apple device.
        (true, json!({"apns": alert})),
        (true, json!({"apns": {"payload": {"aps": {"content-available": 1}}}})),
        (true, json!({"apns": of_kind("voip"), "data": {"k": "v"}})),
        (true, json!({"apns": of_kind("voip"), "title": "A"})),
        (true, json!({"apns": of_kind("voip"), "fcm": {"data": {"k": "v"}}})),
        (true, json!({"apns": of_kind("voip"), "fcm": {"webpush": {"notification": {"title": "A"}}}})),
        (true, json!({"silent": true, "fcm": {"apns": null}})),
        (true, json!({"badge": 1})),
        (true, json!({"fcm": {"apns": {"live_activity_token": "t", "payload": {"aps": {"event": "end"}}}}})),
    ] {
        assert_eq!(has_something_to_send(&content(json.clone())), is_something, "{json}");
    }
}
