//! A stopped lane keeps its jobs unchanged (docs/queue.md#stopped-lane).

use pushpost::provider::fcm;
use pushpost_testkit::json::{apns_targets, assert_ended, fcm_targets};
use std::time::Duration;

use pushpost::runtime::Role;
use pushpost_simulator::{Action, FcmFault, Provider, Rule, Settings};
use serde_json::{Value, json};

use pushpost_testkit::service::{PRODUCTION, TestService, sent};

const SUSPENDED: &str = "select count(*) from lanes where suspended_fingerprint is not null";
/// A node has read the lanes' standing since.
const STANDING_READ: Duration = Duration::from_secs(4);

fn hello(targets: Vec<Value>) -> Value {
    json!({"to": {"tokens": targets}, "title": "Hi"})
}

async fn assert_nothing_lost(service: &TestService, id: &str, devices: usize) {
    let outcomes = service.notifications().outcomes(id).await;
    assert_eq!(outcomes.len(), devices);
    outcomes.iter().for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_credential_suspends_its_lane_and_nothing_else() {
    const DEVICES: usize = 300;
    let service = TestService::start().await;
    service.rule(Rule::provider(Provider::Apns, Action::answer(403, "InvalidProviderToken")));
    let waiting = service.notifications().send(hello(apns_targets("a", DEVICES))).await;
    service.database.until_count(SUSPENDED, 1).await;
    let reason: String =
        sqlx::query_scalar("select suspended_reason from lanes where suspended_fingerprint is not null")
            .fetch_one(&service.database.pool)
            .await
            .unwrap();
    assert_eq!(reason, "InvalidProviderToken");
    let other = service.notifications().send(hello(fcm_targets("f", DEVICES))).await;
    assert_nothing_lost(&service, &other, DEVICES).await;

    service.database.until_count("select count(*) from jobs where node_id is not null", 0).await;
    let deliveries = service.notifications().deliveries(&waiting).await;
    assert_eq!(deliveries.len(), DEVICES);
    deliveries.iter().for_each(|delivery| assert_ended(delivery, "pending", 0, Some("lane_suspended")));
    let status = service.get(&format!("/v1/notifications/{waiting}")).await.body;
    assert_eq!(status["held"][0]["lane"], "apns-production");
    assert_eq!(status["held"][0]["state"], "suspended");
    assert_eq!(
        service.database.count("select count(*) from devices where quarantined_at is not null").await,
        0
    );
    assert_eq!(service.database.count("select count(*) from jobs where attempt <> 1 or class <> 0").await, 0);

    // What a node decided it takes back only after it has seen it in the database.
    tokio::time::sleep(STANDING_READ).await;
    service.simulator.clear_rules();
    service.lanes().resume(PRODUCTION).await;
    assert_nothing_lost(&service, &waiting, DEVICES).await;
    assert_eq!(service.database.count(SUSPENDED).await, 0);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspension_outlives_a_restart_and_an_operator_ends_it() {
    let mut service = TestService::start().await;
    service.rule(Rule::provider(Provider::Fcm, Action::fcm(FcmFault::PermissionDenied)));
    let id = service.notifications().send(hello(fcm_targets("f", 20))).await;
    service.database.until_count(SUSPENDED, 1).await;
    service.end_nodes().await;
    service.simulator.clear_rules();
    let before = sent(&service.ledger()).len();
    service.node(Role::All).await;
    let apns = service.notifications().send(hello(apns_targets("a", 1))).await;
    assert_nothing_lost(&service, &apns, 1).await;
    assert_eq!(sent(&service.ledger()).len(), before + 1, "the suspended lane sends nothing");
    // At once: a suspension that was read from the database is ended by the next reading that has none.
    service.lanes().resume(fcm::LANE).await;
    assert_nothing_lost(&service, &id, 20).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_lane_sends_nothing_and_then_everything() {
    let mut service = TestService::builder().build().await;
    service.lanes().pause(PRODUCTION).await;
    service.node(Role::All).await;
    let waiting = service.notifications().send(hello(apns_targets("a", 600))).await;
    let other = service.notifications().send(hello(fcm_targets("f", 50))).await;
    assert_nothing_lost(&service, &other, 50).await;
    assert_eq!(sent(&service.ledger()).len(), 50, "the paused lane sends nothing");
    let status = service.get(&format!("/v1/notifications/{waiting}")).await.body;
    assert_eq!(status["held"][0]["state"], "paused");
    service.lanes().resume(PRODUCTION).await;
    assert_nothing_lost(&service, &waiting, 600).await;
    assert_eq!(sent(&service.ledger()).len(), 650);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_is_paused_while_it_sends_gives_back_the_rest_untouched() {
    const DEVICES: usize = 1_000;
    let settings = Settings { latency: Duration::from_millis(200), ..Settings::default() };
    let service = TestService::builder()
        .simulator(settings)
        .config("DELIVERY__MAX_IN_FLIGHT", "10")
        .node(Role::All)
        .build()
        .await;
    let id = service.notifications().send(hello(fcm_targets("f", DEVICES))).await;
    service.until_received(20).await;
    service.lanes().pause(fcm::LANE).await;
    service.database.until_count("select count(*) from jobs where node_id is not null", 0).await;
    let sent_so_far = sent(&service.ledger()).len();
    assert!(sent_so_far < DEVICES, "it was stopped in the middle");
    let pending =
        service.notifications().deliveries(&id).await.into_iter().filter(|one| one["status"] == "pending");
    let pending: Vec<_> = pending.collect();
    assert_eq!(pending.len(), DEVICES - sent_so_far);
    pending.iter().for_each(|delivery| assert_ended(delivery, "pending", 0, Some("lane_paused")));
    service.lanes().resume(fcm::LANE).await;
    assert_nothing_lost(&service, &id, DEVICES).await;
    assert_eq!(sent(&service.ledger()).len(), DEVICES);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_throttled_project_waits_for_retry_after_and_counts_no_attempt() {
    let service = TestService::start().await;
    let quota = Action::FcmFault {
        fault: FcmFault::ProjectQuota,
        retry_after: Some("1".to_owned()),
        retry_after_date_seconds: None,
    };
    service.rule(Rule::provider(Provider::Fcm, quota).times(3));
    let id = service.notifications().send(hello(fcm_targets("f", 100))).await;
    assert_nothing_lost(&service, &id, 100).await;
    assert_eq!(sent(&service.ledger()).len(), 103);
    service.stop().await;
}
