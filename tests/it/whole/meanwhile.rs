//! Between acceptance and attempt a device changes hands, lane or existence (docs/queue.md#token-load).

use std::collections::BTreeMap;
use std::time::Duration;

use pushpost::domain::LaneKey;
use pushpost::runtime::Role;
use pushpost_simulator::{Action, Answer, FcmFault, Rule, Settings};
use serde_json::json;

use super::stage::{PRODUCTION, Stage, assert_ended, hex, of, sent};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_of_a_device_while_its_lane_was_paused_decides() {
    let mut stage = Stage::set(Settings::default()).await;
    stage.pause(PRODUCTION).await;
    stage.node(Role::All).await;
    let phone = |two: &str, user: &str| json!({"platform": "apns", "token": hex(two), "user": user});
    let logged_out = stage.device(phone("a1", "u1")).await;
    let sold = stage.device(phone("a2", "u1")).await;
    let deleted = stage.device(phone("a3", "u1")).await;
    let replaced = stage.device(phone("a4", "u1")).await;
    let moved = stage.device(phone("a5", "u1")).await;
    let same = stage.device(phone("a6", "u1")).await;
    let returned = stage.device(phone("a7", "u1")).await;
    let id = stage.notify(json!({"to": {"users": ["u1"]}, "title": "For u1's eyes only"})).await;
    let direct = stage.notify(json!({"to": {"devices": [sold]}, "title": "For this phone"})).await;
    for delivery in stage.deliveries(&id).await {
        assert_ended(&delivery, "pending", 0, Some("lane_paused"));
    }

    stage.put_by_phone("/v1/devices", json!({"platform": "apns", "token": hex("a1"), "user": null})).await;
    stage.device(phone("a2", "u2")).await;
    assert!(stage.delete(&format!("/v1/devices/{deleted}")).await.status.is_success());
    let mut replacement = phone("b4", "u2");
    replacement["replaces"] = json!(hex("a4"));
    stage.device(replacement).await;
    let mut corrected = phone("a5", "u1");
    corrected["environment"] = json!("sandbox");
    stage.device(corrected).await;
    stage.device(phone("a7", "u2")).await;
    stage.device(phone("a7", "u1")).await;
    assert_eq!(sent(&stage.ledger()).len(), 0);
    stage.resume(PRODUCTION).await;

    let outcomes = stage.outcomes(&id).await;
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
    assert_ended(&stage.outcome(&direct).await, "accepted", 1, None);
    let mut tokens: Vec<_> = sent(&stage.ledger()).into_iter().filter_map(|entry| entry.token).collect();
    tokens.sort();
    assert_eq!(tokens, ["a2", "a5", "a6", "a7"].map(hex));
    stage.stop().await;
}

/// Retries that wait, for longer than any test takes.
const WAITING: &str = "select coalesce(sum(n), 0)::bigint from jobs where class = 1 and node_id is null";
const LATER: &str = "3600";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_changes_hands_between_two_attempts_does_not_get_the_second() {
    let stage = Stage::start().await;
    let busy = Answer { status: 503, retry_after: Some(LATER.to_owned()), ..Answer::default() };
    stage.rule(Rule::token(hex("a1"), Action::Answer(Box::new(busy))).times(1));
    let fault = Action::FcmFault {
        fault: FcmFault::Unavailable,
        retry_after: Some(LATER.to_owned()),
        retry_after_date_seconds: None,
    };
    stage.rule(Rule::prefix("f", fault).times_per_token(1));
    let iphone = stage.device(json!({"platform": "apns", "token": hex("a1"), "user": "u1"})).await;
    let gone = stage.device(json!({"platform": "fcm", "token": "f1", "user": "u1"})).await;
    let kept = stage.device(json!({"platform": "fcm", "token": "f2", "user": "u1"})).await;
    let id = stage.notify(json!({"to": {"users": ["u1"]}, "title": "Hi"})).await;
    stage.until_count(WAITING, 3).await;
    stage.device(json!({"platform": "apns", "token": hex("a1"), "user": "u2"})).await;
    assert!(stage.delete(&format!("/v1/devices/{gone}")).await.status.is_success());
    stage.hasten(PRODUCTION).await;
    stage.hasten(LaneKey::Fcm).await;
    let outcomes = stage.outcomes(&id).await;
    assert_ended(of(&outcomes, "device", &iphone), "cancelled", 1, Some("user_changed"));
    assert_ended(of(&outcomes, "device", &gone), "cancelled", 1, Some("device_gone"));
    assert_ended(of(&outcomes, "device", &kept), "accepted", 2, None);
    assert_eq!(stage.received(&hex("a1")).len(), 1);
    assert_eq!(stage.received("f1").len(), 1);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_changes_hands_while_it_waits_in_a_slow_lane_gets_nothing() {
    let mut stage = Stage::set(Settings::default()).await;
    stage.configure("DELIVERY__MAX_IN_FLIGHT", "1");
    stage.node(Role::All).await;
    // Whoever is first holds the others up: loaded with it, they wait for their turn.
    stage.rule(Rule::prefix("f", Action::Accept).delayed(Duration::from_secs(10)).times(1));
    let mut devices = BTreeMap::new();
    for token in ["f1", "f2", "f3", "f4"] {
        let device = stage.device(json!({"platform": "fcm", "token": token, "user": "u1"})).await;
        devices.insert(token.to_owned(), device);
    }
    let id = stage.notify(json!({"to": {"users": ["u1"]}, "title": "For u1's eyes only"})).await;
    stage.until_received(1).await;
    let first = devices.remove(sent(&stage.ledger())[0].token.as_deref().unwrap()).unwrap();
    let [(sold, to_u2), (_, gone), (_, same)] = devices.into_iter().collect::<Vec<_>>().try_into().unwrap();
    stage.device(json!({"platform": "fcm", "token": sold, "user": "u2"})).await;
    assert!(stage.delete(&format!("/v1/devices/{gone}")).await.status.is_success());
    assert_eq!(sent(&stage.ledger()).len(), 1, "all of them wait");
    let outcomes = stage.outcomes(&id).await;
    assert_ended(of(&outcomes, "device", &first), "accepted", 1, None);
    assert_ended(of(&outcomes, "device", &to_u2), "cancelled", 0, Some("user_changed"));
    assert_ended(of(&outcomes, "device", &gone), "cancelled", 0, Some("device_gone"));
    assert_ended(of(&outcomes, "device", &same), "accepted", 1, None);
    assert_eq!(sent(&stage.ledger()).len(), 2);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_environment_corrected_between_two_attempts_moves_the_retry_to_the_other_lane() {
    let stage = Stage::start().await;
    let busy = Answer { status: 503, retry_after: Some(LATER.to_owned()), ..Answer::default() };
    stage.rule(Rule::token(hex("a1"), Action::Answer(Box::new(busy))).times(1));
    let device = stage.device(json!({"platform": "apns", "token": hex("a1")})).await;
    let id = stage.notify(json!({"to": {"devices": [device]}, "title": "Hi"})).await;
    stage.until_count(WAITING, 1).await;
    stage.device(json!({"platform": "apns", "token": hex("a1"), "environment": "sandbox"})).await;
    stage.hasten(PRODUCTION).await;
    let outcome = stage.outcome(&id).await;
    assert_ended(&outcome, "accepted", 2, None);
    assert_eq!(outcome["environment"], "sandbox");
    let received = stage.received(&hex("a1"));
    assert_eq!(received.len(), 2);
    assert_eq!(received[0].header("apns-id"), received[1].header("apns-id"));
    assert_ne!(received[0].connection, received[1].connection);
    stage.stop().await;
}
