//! The limit of the share of an app's devices that runs may quarantine.

use http::Method;
use pushpost_testkit::api::TestApi;
use pushpost_testkit::json::{assert_has, text};
use serde_json::{Value, json};

use super::{add, carry_out, quarantined, read, restore, run, start};

/// A service with so many devices that match a run of 30 days, and so many that do not.
async fn service(inactive: u32, active: u32) -> TestApi {
    let service = TestApi::start().await;
    add(&service.database, inactive, 100.0, "", "").await;
    add(&service.database, active, 1.0, "", "").await;
    service
}

fn month() -> Value {
    json!({"inactive_days": 30})
}

#[tokio::test]
async fn a_run_over_more_than_its_share_changes_nothing() {
    let service = service(21, 79).await;
    let ended = run(&service, month()).await;
    let problem = json!({"code": "share_exceeded", "share": 0.21, "max_share": 0.2});
    let counts =
        json!({"status": "failed", "scanned": 100, "matched": 21, "quarantined": 0, "problem": problem});
    assert_has(&ended, &counts);
    assert!(ended["done_at"].is_string());
    assert_eq!(quarantined(&service.database).await, 0);
    // With the share that it needs.
    let ended = run(&service, json!({"inactive_days": 30, "max_share": 0.21})).await;
    assert_has(&ended, &json!({"status": "done", "quarantined": 21, "problem": null}));
    assert_eq!(quarantined(&service.database).await, 21);
}

#[tokio::test]
async fn a_run_of_exactly_its_share_is_carried_out() {
    let service = service(20, 80).await;
    let ended = run(&service, month()).await;
    assert_has(&ended, &json!({"status": "done", "scanned": 100, "matched": 20, "quarantined": 20}));
    let first: Vec<String> = ended["sample"].as_array().unwrap().iter().map(text).collect();
    assert_eq!(first.len(), 20);
}

#[tokio::test]
async fn a_dry_run_counts_and_says_what_a_real_one_would_meet() {
    let service = service(150, 850).await;
    let dry = json!({"inactive_days": 30, "dry_run": true});
    let ended = run(&service, dry).await;
    let counts =
        json!({"status": "done", "dry_run": true, "matched": 150, "quarantined": 0, "problem": null});
    assert_has(&ended, &counts);
    let sample = ended["sample"].as_array().unwrap();
    assert_eq!(sample.len(), 100);
    let client = service.client("admin").await;
    for id in sample {
        let device = client.get(&format!("/v1/devices/{}", text(id))).await.body;
        assert_eq!(device["status"], "active", "{device}");
    }
    let ended = run(&service, json!({"inactive_days": 30, "dry_run": true, "max_share": 0.1})).await;
    assert_has(&ended, &json!({"status": "done", "quarantined": 0, "problem": {"code": "share_exceeded"}}));
    assert_eq!(quarantined(&service.database).await, 0);
}

#[tokio::test]
async fn what_runs_of_the_last_30_days_quarantined_counts() {
    let service = service(15, 85).await;
    assert_has(&run(&service, month()).await, &json!({"status": "done", "quarantined": 15}));
    // 15 are quarantined, 85 active; 3 more would be 18 of 85.
    let aged =
        "update devices set registered_at = now() - interval '60 days' where device_id in (20, 21, 22)";
    service.database.execute(aged).await;
    let ended = run(&service, month()).await;
    let counts = json!({"status": "failed", "scanned": 85, "matched": 3, "recently_quarantined": 15, "quarantined": 0});
    assert_has(&ended, &counts);
    // A device that is restored or registers again does not count any more.
    let client = service.client("admin").await;
    let id = text(&ended["sample"][0]);
    let listed = client.get("/v1/devices?status=quarantined").await.body;
    assert!(listed["items"].as_array().unwrap().iter().all(|device| device["id"] != id.as_str()));
    let first = text(&listed["items"][0]["id"]);
    client.ask(Method::POST, &format!("/v1/devices/{first}/restore")).await;
    let dry = json!({"inactive_days": 30, "dry_run": true});
    assert_has(&run(&service, dry.clone()).await, &json!({"recently_quarantined": 14, "matched": 4}));
    // After 30 days nothing of the run counts.
    let old =
        "update devices set quarantined_at = now() - interval '31 days' where quarantine_run is not null";
    service.database.execute(old).await;
    assert_has(&run(&service, dry).await, &json!({"recently_quarantined": 0, "problem": null}));
}

#[tokio::test]
async fn devices_that_were_deleted_after_a_run_count_too() {
    let service = service(15, 85).await;
    run(&service, month()).await;
    let mut conn = super::session(&service.database).await;
    assert_eq!(pushpost::store::devices::delete_quarantined(&mut conn, 0.0, 1_000).await.unwrap(), 15);
    drop(conn);
    let aged =
        "update devices set registered_at = now() - interval '60 days' where device_id in (20, 21, 22)";
    service.database.execute(aged).await;
    let ended = run(&service, month()).await;
    assert_has(&ended, &json!({"status": "failed", "scanned": 85, "matched": 3, "recently_quarantined": 15}));
}

#[tokio::test]
async fn a_run_that_matches_nothing_is_never_refused() {
    let service = service(20, 80).await;
    run(&service, month()).await;
    let ended = run(&service, month()).await;
    assert_has(&ended, &json!({"status": "done", "matched": 0, "recently_quarantined": 20, "problem": null}));
}

#[tokio::test]
async fn a_restored_run_counts_no_more() {
    let service = service(20, 80).await;
    let client = service.client("admin").await;
    let first = start(&client, month()).await;
    carry_out(&service.database).await;
    assert_eq!(restore(&client, &first).await.status.as_u16(), 202);
    carry_out(&service.database).await;
    assert_has(&read(&client, &first).await, &json!({"status": "restored", "restored": 20}));
    assert_has(
        &run(&service, month()).await,
        &json!({"status": "done", "recently_quarantined": 0, "quarantined": 20}),
    );
}
