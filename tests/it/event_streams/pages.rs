//! What events tell, page by page.

use pushpost_simulator::{Action, Rule};
use pushpost_testkit::json::{assert_has, hex};
use pushpost_testkit::service::TestService;
use serde_json::{Value, json};

use super::{all_after, page, tell_of_quarantine, types, until_ended, until_events};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_is_told_receipt_by_receipt_and_then_its_end_once() {
    let service = TestService::start().await;
    let key = service.key("read").await;
    for (platform, token) in [("apns", hex("bb")), ("fcm", "fcm-token-7".to_owned())] {
        service.put("/v1/devices", json!({"platform": platform, "token": token, "user": "u7"})).await;
    }
    let body =
        json!({"to": {"users": ["u7"]}, "title": "Hi", "label": "orders", "metadata": {"order": "789"}});
    let id = service.notifications().send(body).await;
    let status = service.notifications().until_done(&id).await;
    let deliveries = service.notifications().deliveries(&id).await;
    let events = until_ended(&service, &key, &id).await;

    let (end, recorded) = events.split_last().unwrap();
    assert!(types(recorded).iter().all(|each| *each == "delivery.recorded"), "{events:?}");
    let mut told: Vec<Value> = Vec::new();
    for event in recorded {
        let data = &event["data"];
        assert_has(
            event,
            &json!({"app": "shop", "at": "<time>", "data": {
            "notification": id, "label": "orders", "lane": "<lane>", "attempt": 1, "devices_omitted": 0}}),
        );
        let devices = data["devices"].as_array().unwrap();
        assert_eq!(data["counts"]["accepted"], devices.len());
        told.extend(devices.iter().cloned());
    }
    let by_device = |one: &Value, other: &Value| one["device"].as_str().cmp(&other["device"].as_str());
    let mut deliveries = deliveries;
    deliveries.sort_by(by_device);
    told.sort_by(by_device);
    assert_eq!(told, deliveries, "as in the list of deliveries");
    assert_has(
        end,
        &json!({"type": "notification.done", "app": "shop", "data": {
        "notification": id, "label": "orders", "metadata": {"order": "789"}, "created_at": status["created_at"],
        "due_at": status["created_at"], "started_at": status["started_at"], "done_at": status["done_at"],
        "counts": status["counts"]}}),
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_chooses_which_devices_are_listed() {
    let service = TestService::start().await;
    let key = service.key("read").await;
    service.rule(Rule {
        token_prefix: Some(hex("cc")),
        action: Action::answer(410, "Unregistered"),
        ..Rule::default()
    });
    let tokens = json!([{"platform": "apns", "token": hex("bb")}, {"platform": "apns", "token": hex("cc")}]);
    let id = service.notifications().send(json!({"to": {"tokens": tokens}, "title": "Hi"})).await;
    until_ended(&service, &key, &id).await;
    for (detail, listed, omitted) in [("all", 2, 0), ("failed", 1, 1), ("none", 0, 2)] {
        let filter = format!("notification={id}&type=delivery.*&devices={detail}");
        let (events, _) = all_after(&service, &key, &filter, "").await;
        let sum = |count: fn(&Value) -> u64| events.iter().map(|event| count(&event["data"])).sum::<u64>();
        let devices = sum(|data| data["devices"].as_array().unwrap().len() as u64);
        assert_eq!(
            (devices, sum(|data| data["devices_omitted"].as_u64().unwrap())),
            (listed, omitted),
            "{detail}"
        );
        assert_eq!(sum(|data| data["counts"]["accepted"].as_u64().unwrap()), 1, "{detail}");
        assert_eq!(sum(|data| data["counts"]["token_dead"].as_u64().unwrap()), 1, "{detail}");
    }
    tell_of_quarantine(&service, &hex("cc")).await;
    let quarantined =
        until_events(&service, &key, "type=device.quarantined", |events| !events.is_empty()).await;
    assert_has(
        &quarantined[0]["data"],
        &json!({"cause": "provider", "lane": "apns-production", "run": null, "devices_omitted": 0,
        "devices": [{"platform": "apns", "environment": "production", "user": null, "token_hint": "cccccc",
                     "reason": "Unregistered", "evidence_at": "<time>"}]}),
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_one_event_are_the_whole_log_in_its_order() {
    let service = TestService::start().await;
    let key = service.key("admin").await;
    for two in ["aa", "bb", "cc", "dd"] {
        service.notifications().send_to_token("apns", &hex(two), "1h").await;
    }
    let are_ended =
        |events: &[Value]| types(events).iter().filter(|each| **each == "notification.done").count() == 4;
    until_events(&service, &key, "", are_ended).await;
    let (all, cursor) = all_after(&service, &key, "limit=1000", "").await;
    let (one_by_one, same) = all_after(&service, &key, "limit=1", "").await;
    assert_eq!(one_by_one, all);
    for (place, event) in all.iter().enumerate() {
        let after = format!("&after={}", event["id"].as_str().unwrap());
        assert_eq!(all_after(&service, &key, "limit=3", &after).await.0, all[place + 1..], "{place}");
    }
    for cursor in [cursor, same] {
        assert_eq!(all_after(&service, &key, "", &format!("&cursor={cursor}")).await.0, Vec::<Value>::new());
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_moves_past_what_its_filter_leaves_out() {
    let service = TestService::start().await;
    let key = service.key("admin").await;
    let sent = service.notifications().send_to_token("apns", &hex("bb"), "1h").await;
    assert_eq!(sent["status"], "accepted");
    let has_end = |events: &[Value]| types(events).contains(&"notification.done");
    let (first, _) = until_events(&service, &key, "", has_end)
        .await
        .split_first()
        .map(|(a, b)| (a.clone(), b.len()))
        .unwrap();
    let nothing = page(&service, &key, "type=webhook.*").await;
    assert_eq!((&nothing["items"], &nothing["has_more"]), (&json!([]), &json!(false)));
    let cursor = nothing["next_cursor"].as_str().unwrap();
    let (later, _) = all_after(&service, &key, "", &format!("&cursor={cursor}")).await;
    assert!(!later.contains(&first), "the log before is passed: {later:?}");
    assert!(!types(&later).contains(&"notification.done"), "{later:?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_user_is_in_no_event() {
    let service = TestService::start().await;
    let key = service.key("admin").await;
    service.rule(Rule {
        token_prefix: Some(hex("cc")),
        action: Action::answer(410, "Unregistered"),
        ..Rule::default()
    });
    for two in ["bb", "cc"] {
        service
            .put("/v1/devices", json!({"platform": "apns", "token": hex(two), "user": "secret-user"}))
            .await;
    }
    let id = service.notifications().send(json!({"to": {"users": ["secret-user"]}, "title": "Hi"})).await;
    until_ended(&service, &key, &id).await;
    tell_of_quarantine(&service, &hex("cc")).await;
    let has_quarantine = |events: &[Value]| types(events).contains(&"device.quarantined");
    let before = until_events(&service, &key, "", has_quarantine).await;
    assert!(json!(before).to_string().contains("secret-user"));
    let erased = service.delete("/v1/users/secret-user").await;
    assert_eq!(erased.status, 200);
    let (after, _) = all_after(&service, &key, "", "").await;
    let text = json!(after).to_string();
    assert!(!text.contains("secret-user"), "{text}");
    for token in [hex("bb"), hex("cc")] {
        assert!(!text.contains(&token), "{text}");
    }
    let devices: Vec<&Value> = after
        .iter()
        .filter(|event| event["type"] == "delivery.recorded")
        .flat_map(|event| event["data"]["devices"].as_array().unwrap())
        .collect();
    assert_eq!(devices.len(), 2);
    for device in devices {
        assert_has(
            device,
            &json!({"device": null, "user": null, "ref": null, "platform": "apns", "at": "<time>"}),
        );
    }
    service.stop().await;
}
