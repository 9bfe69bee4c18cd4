//! Registrations, other nodes and locks beside a run.

use std::time::Duration;

use pushpost::pruning::cleanups::{CleanupStep, CleanupWorker};
use pushpost_testkit::api::TestApi;
use pushpost_testkit::json::assert_has;
use serde_json::{Value, json};
use sqlx::{Connection, Executor};

use super::{add, carry_out, days_ago, quarantined, read, session, start};

fn all() -> Value {
    json!({"inactive_days": 30, "max_share": 1})
}

/// Writes batches until every device is counted.
async fn count_all(service: &TestApi, worker: &mut CleanupWorker) {
    let mut conn = session(&service.database).await;
    while service.database.count("select count(*) from cleanup_runs where counted_at is null").await > 0 {
        worker.step(&mut conn).await.unwrap();
    }
}

#[tokio::test]
async fn a_phone_that_registers_after_it_was_counted_is_spared() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let old = days_ago(&service.database, 100).await;
    for token in ["a", "b", "c"] {
        let body = json!({"platform": "fcm", "token": token, "registered_at": old});
        backend.put("/v1/devices", body).await;
    }
    let client = service.client("admin").await;
    let run = start(&client, all()).await;
    count_all(&service, &mut CleanupWorker::default()).await;
    let answer = backend.put("/v1/devices", json!({"platform": "fcm", "token": "b"})).await;
    assert_eq!(answer.body["status"], "active");
    carry_out(&service.database).await;
    assert_has(&read(&client, &run).await, &json!({"status": "done", "matched": 3, "quarantined": 2}));
    let device = backend.put("/v1/devices", json!({"platform": "fcm", "token": "b"})).await.body;
    assert_eq!(device["status"], "active");
}

/// A transaction that registers a device while a batch is written: the batch waits for no lock, and looks again later.
#[tokio::test]
async fn a_device_that_is_being_registered_is_looked_at_again_afterwards() {
    let service = TestApi::start().await;
    add(&service.database, 10, 100.0, "", "").await;
    let client = service.client("admin").await;
    let run = start(&client, all()).await;
    let mut worker = CleanupWorker::default();
    count_all(&service, &mut worker).await;
    let mut registering = service.database.raw_connection().await;
    let mut transaction = registering.begin().await.unwrap();
    transaction.execute("update devices set registered_at = now() where device_id = 4").await.unwrap();
    transaction.execute("select from devices where device_id = 7 for no key update").await.unwrap();

    let mut conn = session(&service.database).await;
    worker.step(&mut conn).await.unwrap();
    assert_eq!(quarantined(&service.database).await, 8, "all but the locked ones");
    let locked = worker.step(&mut conn).await.unwrap();
    assert!(locked.pause() >= Some(Duration::from_millis(50)), "{locked:?}");
    assert_has(&read(&client, &run).await, &json!({"status": "running", "quarantined": 8}));
    transaction.commit().await.unwrap();
    drop(conn);
    carry_out(&service.database).await;
    assert_has(&read(&client, &run).await, &json!({"status": "done", "matched": 10, "quarantined": 9}));
    let spared = "select count(*) from devices where quarantined_at is null and device_id = 4";
    assert_eq!(service.database.count(spared).await, 1);
}

#[tokio::test]
async fn a_device_that_stays_locked_does_not_hold_a_run_up_for_ever() {
    let service = TestApi::start().await;
    add(&service.database, 3, 100.0, "", "").await;
    let client = service.client("admin").await;
    let run = start(&client, all()).await;
    let mut holder = service.database.raw_connection().await;
    let mut transaction = holder.begin().await.unwrap();
    transaction.execute("select from devices where device_id = 2 for no key update").await.unwrap();
    carry_out(&service.database).await;
    assert_has(&read(&client, &run).await, &json!({"status": "done", "quarantined": 2}));
    transaction.rollback().await.unwrap();
}

#[tokio::test]
async fn two_workers_count_and_quarantine_each_device_once() {
    let service = TestApi::start().await;
    add(&service.database, 12_000, 100.0, "", "").await;
    add(&service.database, 500, 1.0, "", "").await;
    let client = service.client("admin").await;
    let run = start(&client, all()).await;
    let work = async || {
        let (mut conn, mut worker) = (session(&service.database).await, CleanupWorker::default());
        while worker.step(&mut conn).await.unwrap() != CleanupStep::Idle {}
    };
    tokio::join!(work(), work(), work());
    let ended = read(&client, &run).await;
    let counts = json!({"status": "done", "scanned": 12_500, "matched": 12_000, "quarantined": 12_000});
    assert_has(&ended, &counts);
    assert_eq!(quarantined(&service.database).await, 12_000);
}

#[tokio::test]
async fn runs_of_several_apps_take_turns() {
    let service = TestApi::start().await;
    add(&service.database, 12_000, 100.0, "", "").await;
    let other =
        "update devices set app_id = (select app_id from apps where name = 'other') where device_id > 6000";
    service.database.execute(other).await;
    let (client, stranger) =
        (service.client("admin").await, service.client_of(&service.other, "admin").await);
    let (first, second) = (start(&client, all()).await, start(&stranger, all()).await);
    let (mut conn, mut worker) = (session(&service.database).await, CleanupWorker::default());
    for _ in 0..2 {
        worker.step(&mut conn).await.unwrap();
    }
    assert_eq!(read(&client, &first).await["scanned"], 5_000);
    assert_eq!(read(&stranger, &second).await["scanned"], 5_000);
    drop(conn);
    carry_out(&service.database).await;
    assert_has(&read(&stranger, &second).await, &json!({"status": "done", "quarantined": 6_000}));
    assert_eq!(quarantined(&service.database).await, 12_000);
}
