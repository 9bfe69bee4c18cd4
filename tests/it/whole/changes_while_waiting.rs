//! A device changes its user or lane, or is deleted, between acceptance and attempt (docs/queue.md#token-load).

use pushpost::provider::fcm;
use pushpost_testkit::json::{assert_ended, fcm_targets, hex, of};
use std::collections::BTreeMap;
use std::time::Duration;

use pushpost::runtime::Role;
use pushpost_simulator::{Action, Answer, FcmFault, Rule};
use serde_json::json;

use pushpost_testkit::service::{PRODUCTION, TestService, sent};
use pushpost_testkit::wait::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resumed_lane_uses_the_present_state_of_its_devices() {
    let mut service = TestService::builder().build().await;
    service.lanes().pause(PRODUCTION).await;
    service.node(Role::All).await;
    let phone = |two: &str, user: &str| json!({"platform": "apns", "token": hex(two), "user": user});
    let logged_out = service.devices().register(phone("a1", "u1")).await;
    let sold = service.devices().register(phone("a2", "u1")).await;
    let deleted = service.devices().register(phone("a3", "u1")).await;
    let replaced = service.devices().register(phone("a4", "u1")).await;
    let moved = service.devices().register(phone("a5", "u1")).await;
    let same = service.devices().register(phone("a6", "u1")).await;
    let returned = service.devices().register(phone("a7", "u1")).await;
    let id =
        service.notifications().send(json!({"to": {"users": ["u1"]}, "title": "For u1's eyes only"})).await;
    let direct =
        service.notifications().send(json!({"to": {"devices": [sold]}, "title": "For this phone"})).await;
    for delivery in service.notifications().deliveries(&id).await {
        assert_ended(&delivery, "pending", 0, Some("lane_paused"));
    }

    service.put_by_phone("/v1/devices", json!({"platform": "apns", "token": hex("a1"), "user": null})).await;
    service.devices().register(phone("a2", "u2")).await;
    assert!(service.delete(&format!("/v1/devices/{deleted}")).await.status.is_success());
    let mut replacement = phone("b4", "u2");
    replacement["replaces"] = json!(hex("a4"));
    service.devices().register(replacement).await;
    let mut corrected = phone("a5", "u1");
    corrected["environment"] = json!("sandbox");
    service.devices().register(corrected).await;
    service.devices().register(phone("a7", "u2")).await;
    service.devices().register(phone("a7", "u1")).await;
    assert_eq!(sent(&service.ledger()).len(), 0);
    service.lanes().resume(PRODUCTION).await;

    let outcomes = service.notifications().outcomes(&id).await;
    assert_eq!(outcomes.len(), 7);
    assert_ended(of(&outcomes, "device", &logged_out), "cancelled", 0, Some("user_changed"));
    assert_ended(of(&outcomes, "device", &sold), "cancelled", 0, Some("user_changed"));
    assert_ended(of(&outcomes, "device", &deleted), "cancelled", 0, Some("device_gone"));
    assert_ended(of(&outcomes, "device", &replaced), "token_dead", 0, Some("quarantined"));
    assert_ended(of(&outcomes, "device", &moved), "accepted", 1, None);
    assert_eq!(of(&outcomes, "device", &moved)["environment"], "sandbox");
    assert_ended(of(&outcomes, "device", &same), "accepted", 1, None);
    assert_eq!(of(&outcomes, "device", &same)["environment"], "production");
    assert_ended(of(&outcomes, "device", &returned), "accepted", 1, None);
    assert_ended(&service.notifications().outcome(&direct).await, "accepted", 1, None);
    let mut tokens: Vec<_> = sent(&service.ledger()).into_iter().filter_map(|entry| entry.token).collect();
    tokens.sort();
    assert_eq!(tokens, ["a2", "a5", "a6", "a7"].map(hex));
    service.stop().await;
}

/// Retries that wait, for longer than any test takes.
const WAITING: &str =
    "select coalesce(sum(device_count), 0)::bigint from jobs where class = 1 and node_id is null";
const LATER: &str = "3600";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_changes_hands_between_two_attempts_does_not_get_the_second() {
    let service = TestService::start().await;
    let busy = Answer { status: 503, retry_after: Some(LATER.to_owned()), ..Answer::default() };
    service.rule(Rule::token(hex("a1"), Action::Answer(Box::new(busy))).times(1));
    let fault = Action::FcmFault {
        fault: FcmFault::Unavailable,
        retry_after: Some(LATER.to_owned()),
        retry_after_date_seconds: None,
    };
    service.rule(Rule::prefix("f", fault).times_per_token(1));
    let iphone =
        service.devices().register(json!({"platform": "apns", "token": hex("a1"), "user": "u1"})).await;
    let gone = service.devices().register(json!({"platform": "fcm", "token": "f1", "user": "u1"})).await;
    let kept = service.devices().register(json!({"platform": "fcm", "token": "f2", "user": "u1"})).await;
    let id = service.notifications().send(json!({"to": {"users": ["u1"]}, "title": "Hi"})).await;
    service.database.until_count(WAITING, 3).await;
    service.devices().register(json!({"platform": "apns", "token": hex("a1"), "user": "u2"})).await;
    assert!(service.delete(&format!("/v1/devices/{gone}")).await.status.is_success());
    service.lanes().retry(PRODUCTION).await;
    service.lanes().retry(fcm::LANE).await;
    let outcomes = service.notifications().outcomes(&id).await;
    assert_ended(of(&outcomes, "device", &iphone), "cancelled", 1, Some("user_changed"));
    assert_ended(of(&outcomes, "device", &gone), "cancelled", 1, Some("device_gone"));
    assert_ended(of(&outcomes, "device", &kept), "accepted", 2, None);
    assert_eq!(service.received(&hex("a1")).len(), 1);
    assert_eq!(service.received("f1").len(), 1);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_changes_hands_while_it_waits_in_a_slow_lane_gets_nothing() {
    let service = TestService::builder().config("DELIVERY__MAX_IN_FLIGHT", "1").node(Role::All).build().await;
    // The first device holds the others up: they are loaded with it, and wait for their turn.
    service.rule(Rule::prefix("f", Action::Accept).delayed(Duration::from_secs(10)).times(1));
    let mut devices = BTreeMap::new();
    for token in ["f1", "f2", "f3", "f4"] {
        let device =
            service.devices().register(json!({"platform": "fcm", "token": token, "user": "u1"})).await;
        devices.insert(token.to_owned(), device);
    }
    let id =
        service.notifications().send(json!({"to": {"users": ["u1"]}, "title": "For u1's eyes only"})).await;
    service.until_received(1).await;
    let first = devices.remove(sent(&service.ledger())[0].token.as_deref().unwrap()).unwrap();
    let [(sold, to_u2), (_, gone), (_, same)] = devices.into_iter().collect::<Vec<_>>().try_into().unwrap();
    service.devices().register(json!({"platform": "fcm", "token": sold, "user": "u2"})).await;
    assert!(service.delete(&format!("/v1/devices/{gone}")).await.status.is_success());
    assert_eq!(sent(&service.ledger()).len(), 1, "all of them wait");
    let outcomes = service.notifications().outcomes(&id).await;
    assert_ended(of(&outcomes, "device", &first), "accepted", 1, None);
    assert_ended(of(&outcomes, "device", &to_u2), "cancelled", 0, Some("user_changed"));
    assert_ended(of(&outcomes, "device", &gone), "cancelled", 0, Some("device_gone"));
    assert_ended(of(&outcomes, "device", &same), "accepted", 1, None);
    assert_eq!(sent(&service.ledger()).len(), 2);
    service.stop().await;
}

/// What a lane that claims its jobs again must notice.
const CANCEL: &str = "update notifications set cancelled_at = now()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_cancelled_while_it_waits_in_a_slow_lane_is_sent_to_no_further_device() {
    let service = TestService::builder().config("DELIVERY__MAX_IN_FLIGHT", "1").node(Role::All).build().await;
    // The first device holds the others up: they are loaded with it, and wait for their turn.
    service.rule(Rule::prefix("f", Action::Accept).delayed(Duration::from_secs(10)).times(1));
    let id =
        service.notifications().send(json!({"to": {"tokens": fcm_targets("f", 4)}, "title": "Hi"})).await;
    service.until_received(1).await;
    let answer = service.delete(&format!("/v1/notifications/{id}")).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body["status"]),
        (200, &json!("cancelled")),
        "it waits for the lane"
    );
    assert_eq!(sent(&service.ledger()).len(), 1, "the others wait");
    assert_cancelled_but_the_first(service, &id, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_cancelled_after_its_lane_gave_it_back_is_sent_to_no_further_device() {
    let service = TestService::builder().config("DELIVERY__MAX_IN_FLIGHT", "1").node(Role::All).build().await;
    service.rule(Rule::prefix("f", Action::Accept).delayed(Duration::from_secs(2)).times(1));
    let id =
        service.notifications().send(json!({"to": {"tokens": fcm_targets("f", 20)}, "title": "Hi"})).await;
    service.until_received(1).await;
    service.lanes().pause(fcm::LANE).await;
    service.database.until_count("select count(*) from jobs where node_id is not null", 0).await;
    // Not by a request, which would end what waits.
    assert_eq!(service.database.execute(CANCEL).await, 1);
    // The lane still has the notification, and asks for its devices again.
    service.lanes().resume(fcm::LANE).await;
    assert_cancelled_but_the_first(service, &id, 20).await;
}

async fn assert_cancelled_but_the_first(service: TestService, id: &str, devices: usize) {
    let path = format!("/v1/notifications/{id}");
    let pending = async || service.get(&path).await.body["counts"]["pending"] == 0;
    until("every device has its outcome", pending).await;
    let status = service.get(&path).await.body;
    assert_eq!(status["status"], "cancelled");
    let (taken, left): (Vec<_>, Vec<_>) = service
        .notifications()
        .deliveries(id)
        .await
        .into_iter()
        .partition(|delivery| delivery["status"] == "accepted");
    assert_eq!((taken.len(), left.len()), (1, devices - 1));
    left.iter().for_each(|delivery| assert_ended(delivery, "cancelled", 0, Some("requested")));
    assert_eq!(sent(&service.ledger()).len(), 1);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_environment_corrected_between_two_attempts_moves_the_retry_to_the_other_lane() {
    let service = TestService::start().await;
    let busy = Answer { status: 503, retry_after: Some(LATER.to_owned()), ..Answer::default() };
    service.rule(Rule::token(hex("a1"), Action::Answer(Box::new(busy))).times(1));
    let device = service.devices().register(json!({"platform": "apns", "token": hex("a1")})).await;
    let id = service.notifications().send(json!({"to": {"devices": [device]}, "title": "Hi"})).await;
    service.database.until_count(WAITING, 1).await;
    service
        .devices()
        .register(json!({"platform": "apns", "token": hex("a1"), "environment": "sandbox"}))
        .await;
    service.lanes().retry(PRODUCTION).await;
    let outcome = service.notifications().outcome(&id).await;
    assert_ended(&outcome, "accepted", 2, None);
    assert_eq!(outcome["environment"], "sandbox");
    assert_eq!(outcome["last_reason"], "503", "the move to another lane is no attempt");
    let received = service.received(&hex("a1"));
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].header("apns-id"), received[1].header("apns-id"));
    assert_ne!(received[0].connection, received[1].connection);
    service.stop().await;
}
