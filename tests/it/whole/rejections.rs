//! Devices that can't be sent to at all.

use pushpost::runtime::Role;
use pushpost_simulator::Settings;
use serde_json::{Value, json};

use super::stage::{Stage, assert_ended, hex, of, sent};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_found_through_its_user_is_rejected_where_its_platform_has_no_credentials() {
    let mut stage = Stage::set(Settings::default()).await;
    stage.without_fcm();
    stage.node(Role::All).await;
    let iphone = stage.device(json!({"platform": "apns", "token": hex("a1"), "user": "u1"})).await;
    let android = stage.device(json!({"platform": "fcm", "token": "f1", "user": "u1"})).await;
    let id = stage.notify(json!({"to": {"users": ["u1"]}, "title": "Hi"})).await;
    let outcomes = stage.outcomes(&id).await;
    assert_ended(of(&outcomes, "device", &iphone), "accepted", 1, None);
    let rejected = of(&outcomes, "device", &android);
    assert_ended(rejected, "rejected", 0, Some("platform_not_configured"));
    assert_eq!((&rejected["platform"], &rejected["provider_id"]), (&json!("fcm"), &Value::Null));

    let alone = stage.notify(json!({"to": {"devices": [android]}, "title": "Hi"})).await;
    assert_ended(&stage.outcome(&alone).await, "rejected", 0, Some("platform_not_configured"));
    let direct = stage
        .post(
            "/v1/notifications",
            json!({"to": {"tokens": [{"platform": "fcm", "token": "f2"}]}, "title": "Hi"}),
        )
        .await;
    assert_eq!(direct.status, 422);
    assert_eq!(direct.body["errors"][0]["code"], "platform_not_configured");
    assert_eq!(sent(&stage.ledger()).len(), 1);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_went_away_meanwhile_reject_nobody() {
    let mut stage = Stage::set(Settings::default()).await;
    stage.node(Role::Api).await;
    let id =
        stage.notify(json!({"to": {"tokens": [{"platform": "fcm", "token": "f1"}]}, "title": "Hi"})).await;
    stage.without_fcm();
    stage.node(Role::Worker).await;
    let other =
        stage.notify(json!({"to": {"tokens": [{"platform": "apns", "token": hex("a1")}]}, "title": "Hi"}));
    let other = other.await;
    assert_ended(&stage.outcome(&other).await, "accepted", 1, None);
    assert_ended(&stage.deliveries(&id).await[0], "pending", 0, None);
    stage.stop_undecided().await;
}
