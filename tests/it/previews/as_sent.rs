//! What a preview shows is what the provider then receives.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use pushpost_simulator::Entry;
use pushpost_testkit::json::hex;
use pushpost_testkit::service::TestService;

use super::{ANY_ID, PREVIEW};

/// Contents, each of which shows another part of a message. They are sent at once or never, so that no time is in them.
fn contents() -> Vec<Value> {
    vec![
        json!({"title": "Hi", "body": "Grüße \"quoted\" \u{1f600}"}),
        json!({"silent": true, "data": {"sync": "1"}}),
        json!({"silent": true, "priority": "high", "collapse_key": "sync"}),
        json!({"title": "Hi", "collapse_key": "order-789", "priority": "low", "label": "orders"}),
        json!({
            "title": "Order shipped", "body": "Dispatched.", "subtitle": "Two parcels", "sound": "default", "badge": 1,
            "category": "ORDER", "thread": "orders", "channel": "orders", "url": "https://example.com/789",
            "image": "https://cdn.example.com/789.jpg",
            "data": {"order_id": "789", "lines": 3, "price": 1.50, "nested": {"a": [null, true]}},
        }),
        json!({
            "title": "Hi", "apns": {
                "headers": {"apns-priority": "1", "apns-collapse-id": "mine"},
                "payload": {"aps": {"interruption-level": "time-sensitive", "alert": {"title": null}}, "more": [1, 2]},
            },
            "fcm": {"android": {"notification": {"visibility": "PUBLIC"}}, "webpush": {"headers": {"Urgency": "high"}}},
        }),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preview_shows_what_is_sent() {
    let service = TestService::start().await;
    let (apns, fcm) = (hex("aa"), "fcm-token-1");
    let to = json!({"tokens": [{"platform": "apns", "token": apns}, {"platform": "fcm", "token": fcm}]});
    for (place, mut body) in contents().into_iter().enumerate() {
        body["ttl"] = json!(0);
        let without_to = service.post(PREVIEW, body.clone()).await;
        assert_eq!(without_to.status, 200, "{without_to:?}");
        body["to"] = to.clone();
        let answer = service.post(PREVIEW, body.clone()).await;
        assert_eq!((answer.status.as_u16(), &answer.body["targets"]), (200, &json!(2)), "{answer:?}");
        assert_eq!(answer.body["problems"], json!([]));
        assert_eq!(answer.body["platforms"], without_to.body["platforms"]);

        let id = service.notifications().send(body).await;
        service.notifications().until_done(&id).await;
        for (platform, token) in [("apns", apns.as_str()), ("fcm", fcm)] {
            let entries = service.received(token);
            assert_eq!(entries.len(), place + 1);
            assert_alike(&answer.body["platforms"][platform], entries.last().unwrap(), &id, token);
        }
    }
    service.stop().await;
}

/// `TOKEN` and the id of zeros stand for the token and the id that were sent.
#[track_caller]
fn assert_alike(preview: &Value, entry: &Entry, id: &str, token: &str) {
    let sent = |text: &str| text.replace(ANY_ID, id).replace("\"TOKEN\"", &format!("\"{token}\""));
    let body = preview["body"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&sent(body)).unwrap(), *entry.body.as_ref().unwrap());
    let shown: BTreeMap<String, String> = preview["headers"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), sent(value.as_str().unwrap())))
        .collect();
    // What stands for the device, the credential and the connection is not shown.
    let hidden = ["authorization", "apns-id", "content-length"];
    let received = entry.headers.iter().filter(|(name, _)| !hidden.contains(&name.as_str()));
    assert_eq!(shown, received.map(|(name, value)| (name.clone(), value.clone())).collect());
    assert_eq!((&preview["limit"], &preview["problems"]), (&json!(4096), &json!([])));
    if shown.contains_key("apns-topic") {
        assert_eq!(preview["size"], body.len());
    }
}
