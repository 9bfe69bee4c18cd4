//! Devices that can't be sent to at all.

use pushpost::runtime::Role;
use pushpost_simulator::Settings;
use pushpost_testkit::json::{assert_ended, hex, of};
use serde_json::{Value, json};

use pushpost_testkit::service::{TestService, sent};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_found_through_its_user_is_rejected_where_its_platform_has_no_credentials() {
    let mut service = TestService::set(Settings::default()).await;
    service.without_fcm();
    service.node(Role::All).await;
    let iphone = service.device(json!({"platform": "apns", "token": hex("a1"), "user": "u1"})).await;
    let android = service.device(json!({"platform": "fcm", "token": "f1", "user": "u1"})).await;
    let id = service.notify(json!({"to": {"users": ["u1"]}, "title": "Hi"})).await;
    let outcomes = service.outcomes(&id).await;
    assert_ended(of(&outcomes, "device", &iphone), "accepted", 1, None);
    let rejected = of(&outcomes, "device", &android);
    assert_ended(rejected, "rejected", 0, Some("platform_not_configured"));
    assert_eq!((&rejected["platform"], &rejected["provider_id"]), (&json!("fcm"), &Value::Null));

    let alone = service.notify(json!({"to": {"devices": [android]}, "title": "Hi"})).await;
    assert_ended(&service.outcome(&alone).await, "rejected", 0, Some("platform_not_configured"));
    let direct = service
        .post(
            "/v1/notifications",
            json!({"to": {"tokens": [{"platform": "fcm", "token": "f2"}]}, "title": "Hi"}),
        )
        .await;
    assert_eq!(direct.status, 422);
    assert_eq!(direct.body["errors"][0]["code"], "platform_not_configured");
    assert_eq!(sent(&service.ledger()).len(), 1);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_went_away_meanwhile_reject_nobody() {
    let mut service = TestService::set(Settings::default()).await;
    service.node(Role::Api).await;
    let id =
        service.notify(json!({"to": {"tokens": [{"platform": "fcm", "token": "f1"}]}, "title": "Hi"})).await;
    service.without_fcm();
    service.node(Role::Worker).await;
    let other =
        service.notify(json!({"to": {"tokens": [{"platform": "apns", "token": hex("a1")}]}, "title": "Hi"}));
    let other = other.await;
    assert_ended(&service.outcome(&other).await, "accepted", 1, None);
    assert_ended(&service.deliveries(&id).await[0], "pending", 0, None);
    service.stop_undecided().await;
}
