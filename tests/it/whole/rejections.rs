//! Devices of a platform without credentials.

use pushpost::runtime::Role;
use pushpost_testkit::json::{assert_ended, hex, of};
use serde_json::{Value, json};

use pushpost_testkit::service::{TestService, sent};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_found_through_its_user_is_rejected_where_its_platform_has_no_credentials() {
    let service = TestService::builder().without_fcm().node(Role::All).build().await;
    let iphone =
        service.devices().register(json!({"platform": "apns", "token": hex("a1"), "user": "u1"})).await;
    let android = service.devices().register(json!({"platform": "fcm", "token": "f1", "user": "u1"})).await;
    let id = service.notifications().send(json!({"to": {"users": ["u1"]}, "title": "Hi"})).await;
    let outcomes = service.notifications().outcomes(&id).await;
    assert_ended(of(&outcomes, "device", &iphone), "accepted", 1, None);
    let rejected = of(&outcomes, "device", &android);
    assert_ended(rejected, "rejected", 0, Some("platform_not_configured"));
    assert_eq!((&rejected["platform"], &rejected["provider_id"]), (&json!("fcm"), &Value::Null));

    let alone = service.notifications().send(json!({"to": {"devices": [android]}, "title": "Hi"})).await;
    assert_ended(
        &service.notifications().outcome(&alone).await,
        "rejected",
        0,
        Some("platform_not_configured"),
    );
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
async fn removed_credentials_reject_no_waiting_device() {
    let mut service = TestService::builder().node(Role::Api).build().await;
    let id = service
        .notifications()
        .send(json!({"to": {"tokens": [{"platform": "fcm", "token": "f1"}]}, "title": "Hi"}))
        .await;
    service.without_fcm();
    service.node(Role::Worker).await;
    let other = service
        .notifications()
        .send(json!({"to": {"tokens": [{"platform": "apns", "token": hex("a1")}]}, "title": "Hi"}));
    let other = other.await;
    assert_ended(&service.notifications().outcome(&other).await, "accepted", 1, None);
    assert_ended(&service.notifications().deliveries(&id).await[0], "pending", 0, None);
    service.stop_undecided().await;
}
