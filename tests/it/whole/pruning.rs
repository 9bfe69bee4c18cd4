//! Dead tokens, and which answers quarantine a device: a sender with its own token table, results matched by `ref`.

use pushpost_testkit::json::{assert_ended, assert_has, hex, of, text};
use std::time::Duration;

use pushpost_simulator::{Action, Answer, FcmFault, Rule};
use serde_json::{Value, json};

use pushpost_testkit::service::TestService;

const HOUR_MS: i64 = 3_600_000;

fn dead_since_an_hour(two: &str) -> Rule {
    Rule::token(hex(two), Action::Dead { timestamp_ms: None, timestamp_ago_ms: Some(HOUR_MS) })
}

fn to(two: &str, reference: &str) -> Value {
    json!({"tokens": [{"platform": "apns", "token": hex(two), "ref": reference}]})
}

/// The pruner works behind the recorder.
async fn until_quarantined(service: &TestService, device: &str) -> Value {
    service.database.until_count("select count(*) from devices where quarantined_at is not null", 1).await;
    service.get(&format!("/v1/devices/{device}")).await.body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_token_is_not_revived_by_a_nightly_sync_but_by_the_app_itself() {
    let service = TestService::start().await;
    service.rule(dead_since_an_hour("cc"));
    let answer = service
        .post(
            "/v1/notifications",
            json!({"to": {"tokens": [{"platform": "apns", "token": hex("bc"), "ref": "row-1"},
                                     {"platform": "apns", "token": hex("cc"), "ref": "row-2"}]}, "title": "Hi"}),
        )
        .await;
    assert_eq!(answer.status, 202);
    assert_has(
        &answer.body,
        &json!({"status": "queued", "targets": 2,
                "unmatched": {"users": [], "users_total": 0, "devices": [], "devices_total": 0}}),
    );
    let outcomes = service.notifications().outcomes(&text(&answer.body["id"])).await;
    let (living, dead) = (of(&outcomes, "ref", "row-1"), of(&outcomes, "ref", "row-2"));
    assert_ended(living, "accepted", 1, None);
    assert_ended(dead, "token_dead", 1, Some("Unregistered"));
    assert_eq!((&living["user"], outcomes.len()), (&Value::Null, 2));

    let device = text(&dead["device"]);
    assert_has(
        &until_quarantined(&service, &device).await,
        &json!({"id": device, "source": "send", "registered_at": null, "status": "quarantined",
                "quarantine": {"reason": "Unregistered", "at": "<time>"}}),
    );

    let again = service.notifications().send(json!({"to": to("cc", "row-2"), "title": "Hi again"})).await;
    let delivery = service.notifications().outcome(&again).await;
    assert_ended(&delivery, "token_dead", 0, Some("quarantined"));
    assert_has(&delivery, &json!({"device": device, "ref": "row-2", "provider_id": null}));
    assert_eq!(service.received(&hex("cc")).len(), 1, "nothing more was sent to it");

    let synced = service
        .put(
            "/v1/devices",
            json!({"platform": "apns", "token": hex("cc"), "user": "u9", "registered_at": "2026-01-01T00:00:00Z"}),
        )
        .await;
    assert_eq!(synced.status, 200);
    assert_has(&synced.body, &json!({"id": device, "user": "u9", "status": "quarantined"}));
    // Registered, and set aside as before: it is none of all.
    let other = service.devices().register(json!({"platform": "fcm", "token": "other"})).await;
    let everybody = service.notifications().send(json!({"to": {"all": true}, "title": "Hi everybody"})).await;
    let reached = service.notifications().outcome(&everybody).await;
    assert_ended(&reached, "accepted", 1, None);
    assert_eq!(reached["device"], other);
    let back = service.put_by_phone("/v1/devices", json!({"platform": "apns", "token": hex("cc")})).await;
    assert_eq!(back.status, 200);
    assert_has(&back.body, &json!({"id": device, "status": "active", "bound": true}));

    service.simulator.clear_rules();
    let last = service.notifications().send(json!({"to": to("cc", "row-2"), "title": "Welcome back"})).await;
    assert_ended(&service.notifications().outcome(&last).await, "accepted", 1, None);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_410_that_is_older_than_the_registration_ends_the_delivery_and_spares_the_device() {
    let mut service = TestService::start().await;
    service.rule(dead_since_an_hour("cc"));
    let device = service.devices().register(json!({"platform": "apns", "token": hex("cc")})).await;
    let id = service.notifications().send(json!({"to": {"devices": [device]}, "title": "Hi"})).await;
    assert_ended(&service.notifications().outcome(&id).await, "token_dead", 1, Some("Unregistered"));
    // Ends the pruner: whatever it was told is done.
    service.end_nodes().await;
    assert_eq!(
        service.database.count("select count(*) from devices where quarantined_at is not null").await,
        0
    );
    assert_eq!(service.received(&hex("cc")).len(), 1);
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_dead_token_reason_quarantines_the_device_with_that_reason() {
    let service = TestService::start().await;
    let apns = |word: &str, status| Action::answer(status, word);
    let cases = [
        ("apns", hex("a1"), Action::Dead { timestamp_ms: None, timestamp_ago_ms: None }, "Unregistered"),
        ("apns", hex("a2"), apns("ExpiredToken", 410), "ExpiredToken"),
        ("apns", hex("a3"), apns("BadDeviceToken", 400), "BadDeviceToken"),
        ("apns", hex("a4"), apns("DeviceTokenNotForTopic", 400), "DeviceTokenNotForTopic"),
        ("fcm", "f1".to_owned(), Action::fcm(FcmFault::Unregistered), "UNREGISTERED"),
        ("fcm", "f2".to_owned(), Action::fcm(FcmFault::InvalidToken), "INVALID_ARGUMENT"),
        ("fcm", "f3".to_owned(), Action::fcm(FcmFault::SenderIdMismatch), "SENDER_ID_MISMATCH"),
        ("fcm", "f4".to_owned(), Action::fcm(FcmFault::ApnsUnregistered), "Unregistered"),
    ];
    let mut devices = Vec::new();
    for (platform, token, action, word) in &cases {
        service.rule(Rule::token(token.clone(), action.clone()));
        let device =
            service.devices().register(json!({"platform": platform, "token": token, "user": "u1"})).await;
        devices.push((device, *word));
    }
    let id = service.notifications().send(json!({"to": {"users": ["u1"]}, "title": "Hi"})).await;
    let outcomes = service.notifications().outcomes(&id).await;
    let aside = "select count(*) from devices where quarantined_at is not null";
    service.database.until_count(aside, i64::try_from(cases.len()).unwrap()).await;
    for (device, word) in &devices {
        // It was tried in the other environment too.
        let attempts = if *word == "BadDeviceToken" { 2 } else { 1 };
        assert_ended(of(&outcomes, "device", device), "token_dead", attempts, Some(word));
        let found = service.get(&format!("/v1/devices/{device}")).await.body;
        assert_has(&found, &json!({"status": "quarantined", "quarantine": {"reason": word, "at": "<time>"}}));
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_payload_or_configuration_quarantine_no_device() {
    let mut service = TestService::start().await;
    let apns = |status: u16, word: &str| {
        Action::Answer(Box::new(Answer { status, reason: Some(word.to_owned()), ..Answer::default() }))
    };
    let cases = [
        ("apns", hex("b1"), apns(400, "PayloadEmpty"), "PayloadEmpty"),
        ("apns", hex("b2"), apns(400, "BadCollapseId"), "BadCollapseId"),
        ("apns", hex("b3"), apns(400, "BadExpirationDate"), "BadExpirationDate"),
        ("apns", hex("b4"), apns(400, "InvalidPushType"), "InvalidPushType"),
        ("apns", hex("b5"), apns(413, "PayloadTooLarge"), "PayloadTooLarge"),
        ("apns", hex("b6"), apns(400, "SomethingNew"), "SomethingNew"),
        ("fcm", "g1".to_owned(), Action::fcm(FcmFault::InvalidArgument), "INVALID_ARGUMENT"),
        ("fcm", "g2".to_owned(), Action::fcm(FcmFault::BadField), "INVALID_ARGUMENT"),
        ("fcm", "g3".to_owned(), Action::fcm(FcmFault::ApnsPayloadTooLarge), "PayloadTooLarge"),
    ];
    for (_, token, action, _) in &cases {
        service.rule(Rule::token(token.clone(), action.clone()));
    }
    let targets: Vec<Value> = cases
        .iter()
        .map(|(platform, token, ..)| json!({"platform": platform, "token": token, "ref": token}))
        .collect();
    let id = service.notifications().send(json!({"to": {"tokens": targets}, "title": "Hi"})).await;
    let outcomes = service.notifications().outcomes(&id).await;
    for (_, token, _, word) in &cases {
        assert_ended(of(&outcomes, "ref", token), "rejected", 1, Some(word));
    }
    service.end_nodes().await;
    assert_eq!(
        service.database.count("select count(*) from devices where quarantined_at is not null").await,
        0
    );
    assert_eq!(
        service.database.count("select count(*) from devices").await,
        i64::try_from(cases.len()).unwrap()
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_during_the_attempt_protects_the_device_from_its_answer() {
    let mut service = TestService::start().await;
    let slow = Rule::token("f1", Action::fcm(FcmFault::Unregistered)).delayed(Duration::from_secs(4));
    service.rule(slow);
    let device = service.devices().register(json!({"platform": "fcm", "token": "f1"})).await;
    let id = service.notifications().send(json!({"to": {"devices": [device]}, "title": "Hi"})).await;
    service.until_received(1).await;
    service.put_by_phone("/v1/devices", json!({"platform": "fcm", "token": "f1"})).await;
    assert_ended(&service.notifications().outcome(&id).await, "token_dead", 1, Some("UNREGISTERED"));
    service.end_nodes().await;
    assert_eq!(
        service.database.count("select count(*) from devices where quarantined_at is not null").await,
        0
    );
    service.stop_undecided().await;
}
