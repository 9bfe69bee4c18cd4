//! EXAMPLES E2: one order message to a user with two phones, compared field by field on both sides.

use chrono::DateTime;
use pushpost_testkit::json::{assert_has, hex, of, text};
use serde_json::{Value, json};

use pushpost_testkit::request::{ApiRequest, SEND};
use pushpost_testkit::service::TestService;

fn order() -> Value {
    json!({
        "to": {"users": ["u7", "u8"]}, "title": "Order shipped", "body": "Your order #789 has been dispatched.",
        "sound": "default", "badge": 1, "category": "ORDER", "thread": "orders", "url": "myapp://orders/789",
        "image": "https://cdn.example.com/789.jpg", "data": {"order_id": "789", "lines": 3}, "ttl": "1h",
        "collapse_key": "order-789",
        "apns": {"payload": {"aps": {"interruption-level": "time-sensitive"}}},
        "fcm": {"android": {"notification": {"channel_id": "orders"}}},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_message_reaches_both_phones_of_its_user_as_each_provider_wants_it() {
    let service = TestService::start().await;
    let iphone =
        service.put("/v1/devices", json!({"platform": "apns", "token": hex("bb"), "user": "u7"})).await;
    assert_eq!((iphone.status.as_u16(), &iphone.body["environment"]), (201, &json!("production")));
    let android =
        service.put("/v1/devices", json!({"platform": "fcm", "token": "fcm-token-7", "user": "u7"})).await;
    assert_eq!((android.status.as_u16(), &android.body["environment"]), (201, &Value::Null));
    let (iphone, android) = (text(&iphone.body["id"]), text(&android.body["id"]));

    let request = ApiRequest::post(SEND, &order()).header("idempotency-key", "order-789-shipped");
    let accepted = request.key(&service.key("send").await).of(&service).await;
    assert_eq!(accepted.status, 202);
    let id = text(&accepted.body["id"]);
    assert_eq!(accepted.headers["location"], format!("/v1/notifications/{id}"));
    let unmatched = json!({"users": ["u8"], "users_total": 1, "devices": [], "devices_total": 0});
    assert_has(&accepted.body, &json!({"status": "queued", "targets": 2, "unmatched": unmatched}));

    let status = service.notifications().until_done(&id).await;
    assert_has(
        &status,
        &json!({
            "id": id, "status": "done", "priority": "normal", "created_at": "<time>", "send_at": null, "expires_at": "<time>",
            "started_at": "<time>", "done_at": "<time>", "unmatched": unmatched,
            "counts": {"targets": 2, "pending": 0, "accepted": 2, "unknown": 0, "rejected": 0, "token_dead": 0,
                       "expired": 0, "cancelled": 0},
        }),
    );
    let time = |name: &str| DateTime::parse_from_rfc3339(status[name].as_str().unwrap()).unwrap();
    let expires_at = time("expires_at");
    assert_eq!(expires_at - time("created_at"), chrono::TimeDelta::hours(1));

    let answer = service.get(&format!("/v1/notifications/{id}/deliveries?status=accepted")).await;
    assert_eq!(answer.body["next_cursor"], Value::Null);
    let deliveries = answer.body["items"].as_array().unwrap();
    assert_eq!(deliveries.len(), 2);
    let (to_iphone, to_android) = (of(deliveries, "device", &iphone), of(deliveries, "device", &android));
    let same = json!({"user": "u7", "ref": null, "status": "accepted", "attempts": 1, "reason": null,
                      "provider_id": "<id>", "at": "<time>", "next_attempt_at": null});
    assert_has(to_iphone, &same);
    assert_has(to_iphone, &json!({"platform": "apns", "environment": "production"}));
    assert_has(to_android, &same);
    assert_has(to_android, &json!({"platform": "fcm", "environment": null}));
    assert!(text(&to_android["provider_id"]).starts_with("projects/shop-1/messages/"));

    let expiration = assert_apns(&service, &id, &text(&to_iphone["provider_id"]), expires_at.timestamp());
    assert_fcm(&service, &id, &expiration);
    service.stop().await;
}

/// Checks what APNs got; answers its `apns-expiration`.
fn assert_apns(service: &TestService, id: &str, provider_id: &str, expires_at: i64) -> String {
    let received = service.received(&hex("bb"));
    assert_eq!(received.len(), 1);
    let request = &received[0];
    assert_eq!(request.path, format!("/3/device/{}", hex("bb")));
    for (name, value) in [
        ("apns-topic", "com.example.shop"),
        ("apns-push-type", "alert"),
        ("apns-priority", "10"),
        ("apns-id", provider_id),
        ("apns-collapse-id", "order-789"),
    ] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
    let expiration = request.header("apns-expiration").unwrap();
    assert!((expiration.parse::<i64>().unwrap() - expires_at).abs() <= 2, "{expiration}");
    let expected = json!({
        "aps": {"alert": {"title": "Order shipped", "body": "Your order #789 has been dispatched."}, "badge": 1,
                "sound": "default", "category": "ORDER", "thread-id": "orders", "mutable-content": 1,
                "interruption-level": "time-sensitive"},
        "order_id": "789", "lines": 3, "url": "myapp://orders/789",
        "fcm_options": {"image": "https://cdn.example.com/789.jpg"}, "pushpost": id,
    });
    assert_eq!(request.body.as_ref(), Some(&expected));
    expiration.to_owned()
}

fn assert_fcm(service: &TestService, id: &str, expiration: &str) {
    let received = service.received("fcm-token-7");
    assert_eq!(received.len(), 1);
    let body = received[0].body.clone().unwrap();
    let ttl = text(&body["message"]["android"]["ttl"]);
    let secs: u32 = ttl.strip_suffix('s').unwrap().parse().unwrap();
    assert!((3000..=3600).contains(&secs), "{ttl}");
    let to_iphones = text(&body["message"]["apns"]["headers"]["apns-expiration"]);
    let apart = to_iphones.parse::<i64>().unwrap() - expiration.parse::<i64>().unwrap();
    assert!(apart.abs() <= 2, "{to_iphones}");
    let expected = json!({"message": {
        "token": "fcm-token-7",
        "notification": {"title": "Order shipped", "body": "Your order #789 has been dispatched.",
                         "image": "https://cdn.example.com/789.jpg"},
        "data": {"order_id": "789", "lines": "3", "url": "myapp://orders/789", "pushpost": id},
        "android": {"priority": "HIGH", "ttl": ttl,
                    "notification": {"sound": "default", "notification_count": 1, "tag": "order-789",
                                     "channel_id": "orders"}},
        "webpush": {"headers": {"TTL": secs.to_string(), "Urgency": "normal"}, "notification": {"tag": "order-789"}},
        "apns": {
            "headers": {"apns-push-type": "alert", "apns-priority": "10", "apns-expiration": to_iphones,
                        "apns-collapse-id": "order-789"},
            "payload": {"aps": {"badge": 1, "sound": "default", "category": "ORDER", "thread-id": "orders",
                                "mutable-content": 1, "interruption-level": "time-sensitive"}},
            "fcm_options": {"image": "https://cdn.example.com/789.jpg"},
        },
    }});
    assert_eq!(body, expected);
}
