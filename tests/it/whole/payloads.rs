//! What reaches the phone, where fields and overrides leave it to Pushpost to say how.

use serde_json::{Value, json};

use super::stage::{Stage, assert_ended, hex};

/// Sends a notification to one FCM token; answers the message that FCM accepted.
async fn message_to(stage: &Stage, token: &str, mut body: Value) -> Value {
    body["to"] = json!({"tokens": [{"platform": "fcm", "token": token}]});
    let id = stage.notify(body).await;
    assert_ended(&stage.outcome(&id).await, "accepted", 1, None);
    stage.received(token)[0].body.clone().unwrap()["message"].take()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_title_and_body_an_android_phone_gets_data_only() {
    let stage = Stage::start().await;
    let counted = message_to(&stage, "f1", json!({"badge": 3, "data": {"k": "v"}})).await;
    assert!(counted.get("notification").is_none(), "{counted}");
    assert!(counted["android"].get("notification").is_none(), "{counted}");
    assert_eq!(counted["apns"]["payload"]["aps"], json!({"badge": 3}));
    assert_eq!(counted["data"]["k"], "v");

    let fcm = json!({"android": {"notification": {"title_loc_key": "NEWS"}}});
    let set = message_to(&stage, "f2", json!({"sound": "default", "fcm": fcm})).await;
    assert_eq!(set["android"]["notification"]["title_loc_key"], "NEWS");
    assert_eq!(set["android"]["notification"]["sound"], "default");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_that_only_wakes_the_app_is_sent_as_a_background_push() {
    let stage = Stage::start().await;
    let wakes = json!({"payload": {"aps": {"content-available": 1}}});
    let to = json!({"tokens": [{"platform": "apns", "token": hex("a1")}]});
    let id = stage.notify(json!({"to": to, "data": {"sync": true}, "apns": wakes})).await;
    assert_ended(&stage.outcome(&id).await, "accepted", 1, None);
    let request = &stage.received(&hex("a1"))[0];
    let headers = ["apns-push-type", "apns-priority", "apns-collapse-id"].map(|name| request.header(name));
    assert_eq!(headers, [Some("background"), Some("5"), None]);

    for (token, body) in [("f1", json!({"apns": wakes})), ("f2", json!({"fcm": {"apns": wakes}}))] {
        let message = message_to(&stage, token, body).await;
        let headers = &message["apns"]["headers"];
        assert_eq!(
            (&headers["apns-push-type"], &headers["apns-priority"]),
            (&json!("background"), &json!("5"))
        );
        assert_eq!(message["android"]["priority"], "NORMAL");
    }

    let urgent = json!({"headers": {"apns-priority": "10"}, "payload": {"aps": {"content-available": 1}}});
    let to = json!({"tokens": [{"platform": "apns", "token": hex("a1")}]});
    let refused = stage.post("/v1/notifications", json!({"to": to, "apns": urgent})).await;
    assert_eq!(refused.status, 422);
    assert_eq!(refused.body["errors"][0]["pointer"], "#/apns/headers/apns-priority");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_activity_of_an_fcm_token_is_sent_as_one() {
    let stage = Stage::start().await;
    let payload =
        json!({"aps": {"timestamp": 1_700_000_000, "event": "update", "content-state": {"eta": 5}}});
    let fcm = json!({"apns": {"live_activity_token": "la-token", "payload": payload,
        "headers": {"apns-topic": "com.example.shop.push-type.liveactivity"}}});
    let message = message_to(&stage, "f1", json!({"fcm": fcm})).await;
    let headers = &message["apns"]["headers"];
    assert_eq!(
        (&headers["apns-push-type"], &headers["apns-priority"]),
        (&json!("liveactivity"), &json!("10"))
    );
    assert!(headers.get("apns-collapse-id").is_none(), "{headers}");
    assert_eq!((&message["apns"]["payload"], message.get("android")), (&payload, None));

    // A token without anything to show.
    let to = json!({"tokens": [{"platform": "fcm", "token": "f1"}]});
    let empty = json!({"to": to, "fcm": {"apns": {"live_activity_token": "la-token"}}});
    let refused = stage.post("/v1/notifications", empty).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.body["errors"][0]["code"]),
        (422, &json!("nothing_to_send"))
    );
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn null_in_data_reaches_no_android_phone_and_every_message_has_its_part_for_browsers() {
    let stage = Stage::start().await;
    let body = json!({"title": "Hi", "ttl": "1h", "priority": "high", "url": "https://example.com/orders",
        "data": {"gone": null, "kept": [null]}});
    let message = message_to(&stage, "f1", body).await;
    assert!(message["data"].get("gone").is_none(), "{message}");
    assert_eq!(message["data"]["kept"], "[null]");
    let ttl = message["android"]["ttl"].as_str().unwrap().strip_suffix('s').unwrap();
    let expected = json!({"headers": {"TTL": ttl, "Urgency": "high"},
        "notification": {"tag": message["data"]["pushpost"]}, "fcm_options": {"link": "https://example.com/orders"}});
    assert_eq!(message["webpush"], expected);
    let silent = message_to(&stage, "f2", json!({"silent": true})).await;
    assert!(
        silent["webpush"]["headers"]["TTL"].is_string() && silent["webpush"].get("notification").is_none()
    );
    stage.stop().await;
}
