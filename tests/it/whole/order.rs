//! The order of sending (docs/queue.md#claim): `high` waits for one answer, never for a job.

use pushpost::provider::fcm;
use pushpost_testkit::json::fcm_targets;
use std::time::Duration;

use pushpost::runtime::Role;
use pushpost_simulator::Settings;
use serde_json::{Value, json};

use pushpost_testkit::service::{TestService, sent};

const IN_FLIGHT: usize = 20;
const WAITING: usize = 2_000;
/// So many answers may come while the system lets a thread wait: 20 streams, 20 rounds of 40 ms.
const SOME: usize = 400;

async fn service() -> TestService {
    let settings = Settings { latency: Duration::from_millis(40), ..Settings::default() };
    TestService::builder()
        .simulator(settings)
        .config("DELIVERY__MAX_IN_FLIGHT", &IN_FLIGHT.to_string())
        .build()
        .await
}

fn message(priority: &str, targets: Vec<Value>) -> Value {
    json!({"to": {"tokens": targets}, "title": "Hi", "priority": priority})
}

/// Of so many requests, which is a token's?
fn place(service: &TestService, token: &str) -> usize {
    let entries = sent(&service.ledger());
    entries.iter().position(|entry| entry.token.as_deref() == Some(token)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn high_priority_overtakes_what_is_being_sent() {
    let mut service = service().await;
    service.node(Role::All).await;
    let normal = service.notifications().send(message("normal", fcm_targets("normal-", WAITING))).await;
    service.until_received(IN_FLIGHT).await;
    let high = service.notifications().send(message("high", fcm_targets("high-", 1))).await;
    let before = sent(&service.ledger()).len();
    service.notifications().until_done(&high).await;
    // It waits for one answer; behind a job of `normal`, it would wait for 500.
    let place = place(&service, "high-0");
    assert!(place < before + SOME, "{place}, {before} were before it");
    service.notifications().until_done(&normal).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_jobs_are_sent_by_priority() {
    let mut service = service().await;
    service.lanes().pause(fcm::LANE).await;
    service.node(Role::All).await;
    let low = service.notifications().send(message("low", fcm_targets("low-", 1))).await;
    let normal = service.notifications().send(message("normal", fcm_targets("normal-", WAITING))).await;
    let high = service.notifications().send(message("high", fcm_targets("high-", 1))).await;
    service.lanes().resume(fcm::LANE).await;
    for id in [&low, &normal, &high] {
        service.notifications().until_done(id).await;
    }
    // It is the first to begin; a job, of which `normal` has four, would be 500.
    assert!(place(&service, "high-0") < SOME, "{}", place(&service, "high-0"));
    // At least the first job of `normal` was claimed before it.
    assert!(place(&service, "low-0") > 400, "{}", place(&service, "low-0"));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_overtakes_no_waiting_one_of_its_own_priority() {
    const SINGLES: usize = 200;
    let mut service = service().await;
    service.lanes().pause(fcm::LANE).await;
    service.node(Role::All).await;
    let mut ids = Vec::new();
    for i in 0..SINGLES {
        let target = json!({"platform": "fcm", "token": format!("early-{i}")});
        ids.push(service.notifications().send(message("normal", vec![target])).await);
    }
    service.lanes().resume(fcm::LANE).await;
    service.until_received(1).await;
    ids.push(service.notifications().send(message("normal", fcm_targets("late-", 1))).await);
    for id in &ids {
        service.notifications().until_done(id).await;
    }
    // Jobs that are claimed or in flight with the last of them may come in beside it, and more if a thread has to wait. Of
    // those that waited first, it would be the 20th or so.
    assert!(place(&service, "late-0") >= SINGLES / 2, "{}", place(&service, "late-0"));
    service.stop().await;
}
