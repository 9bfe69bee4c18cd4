//! `POST /v1/devices/{id}/restore`: a quarantined device is active again, and later evidence counts as before.

use chrono::{DateTime, TimeDelta, Utc};
use http::Method;
use pushpost::domain::{Certainty, DeviceId, DeviceToken, LaneId, Reason, TokenVerdict};
use pushpost::provider::apns;
use pushpost::pruning::quarantine as pruning;
use pushpost_testkit::answer::Answer;
use pushpost_testkit::api::{ApiClient, TestApi};
use pushpost_testkit::json::{assert_has, assert_problem, hex, text};
use serde_json::{Value, json};

async fn registered(client: &ApiClient<'_>) -> Value {
    let body = json!({"platform": "apns", "token": hex("aa"), "user": "u1", "topics": ["news"]});
    client.put("/v1/devices", body).await.body
}

/// Applies the verdict `Unregistered` of a provider about the one device, as of `since`.
async fn quarantine(service: &TestApi, since: DateTime<Utc>) -> usize {
    let id: i64 =
        sqlx::query_scalar("select device_id from devices").fetch_one(&service.database.pool).await.unwrap();
    let verdict = TokenVerdict {
        device: DeviceId(id),
        lane: LaneId(1),
        digest: DeviceToken::parse(apns::PLATFORM, &hex("aa")).unwrap().digest(),
        since,
        reason: Reason::new("Unregistered"),
        certainty: Certainty::Certain,
    };
    let mut conn = service.database.pool.acquire().await.unwrap();
    pruning::quarantine(&mut conn, &[verdict]).await.unwrap().len()
}

/// A moment after the registration.
fn later(device: &Value) -> DateTime<Utc> {
    let registered_at: DateTime<Utc> = text(&device["registered_at"]).parse().unwrap();
    registered_at + TimeDelta::milliseconds(1)
}

async fn restore(client: &ApiClient<'_>, device: &Value) -> Answer {
    client.ask(Method::POST, &format!("/v1/devices/{}/restore", text(&device["id"]))).await
}

#[tokio::test]
async fn a_restored_device_is_as_before_its_quarantine() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let device = registered(&backend).await;
    assert_eq!(quarantine(&service, later(&device)).await, 1);
    let path = format!("/v1/devices/{}", text(&device["id"]));
    assert_has(&backend.get(&path).await.body, &json!({"quarantine": {"reason": "Unregistered"}}));

    for what in ["quarantined", "active already"] {
        let answer = restore(&backend, &device).await;
        assert_eq!((answer.status.as_u16(), &answer.body), (200, &device), "{what}");
    }
    assert_eq!(backend.get(&path).await.body, device);
}

#[tokio::test]
async fn a_restoration_is_no_registration_so_a_later_verdict_counts() {
    let service = TestApi::start().await;
    let backend = service.client("admin").await;
    let device = registered(&backend).await;
    let registered_at: DateTime<Utc> = text(&device["registered_at"]).parse().unwrap();
    let later = registered_at + TimeDelta::milliseconds(1);
    assert_eq!(quarantine(&service, later).await, 1);
    restore(&backend, &device).await;
    assert_eq!(
        quarantine(&service, registered_at - TimeDelta::seconds(1)).await,
        0,
        "before the registration"
    );
    assert_eq!(quarantine(&service, later).await, 1, "after it");
}

#[tokio::test]
async fn a_restored_device_leaves_its_clean_up_run() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let device = registered(&backend).await;
    service
        .database
        .execute(
            "update devices set quarantined_at = now(), quarantine_reason = 'inactive', quarantine_run = 7",
        )
        .await;
    assert_eq!(restore(&backend, &device).await.body, device);
    let left =
        "select count(*) from devices where quarantine_run is not null or quarantine_reason is not null";
    let left: i64 = sqlx::query_scalar(left).fetch_one(&service.database.pool).await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_device_is_restored_by_its_own_app_only() {
    let service = TestApi::start().await;
    let (backend, stranger) =
        (service.client("devices").await, service.client_of(&service.other, "devices").await);
    let device = registered(&backend).await;
    assert_eq!(quarantine(&service, later(&device)).await, 1);
    assert_problem(&restore(&stranger, &device).await, 404, "not_found", &json!([]));
    let unknown = json!({"id": "dev_doesnotexist"});
    assert_problem(&restore(&backend, &unknown).await, 404, "not_found", &json!([]));
    let misspelt = format!("/v1/devices/{}/restore?dry_run=true", text(&device["id"]));
    let fault = json!([{"parameter": "dry_run", "code": "unknown_parameter"}]);
    assert_problem(&backend.ask(Method::POST, &misspelt).await, 400, "invalid_request", &fault);
    let path = format!("/v1/devices/{}", text(&device["id"]));
    assert_eq!(backend.get(&path).await.body["status"], "quarantined");
}
