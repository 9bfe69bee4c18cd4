//! A node that is told to stop finishes what is in flight and gives back the rest for the next node.

use pushpost::provider::fcm;
use pushpost_testkit::json::{apns_targets, assert_ended, fcm_targets};
use std::time::Duration;

use pushpost::runtime::Role;
use pushpost_simulator::{Action, FcmFault, Rule, Settings};
use serde_json::json;

use pushpost_testkit::service::{TestService, sent};

const EACH: usize = 600;
const RECORDED: &str = "select coalesce(sum(accepted), 0)::bigint from receipts";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_while_sending_loses_and_repeats_nothing() {
    let settings = Settings { latency: Duration::from_millis(200), ..Settings::default() };
    let mut service = TestService::builder()
        .simulator(settings)
        .config("DELIVERY__MAX_IN_FLIGHT", "10")
        .node(Role::All)
        .build()
        .await;
    let mut targets = apns_targets("a", EACH);
    targets.extend(fcm_targets("f", EACH));
    let id = service.notifications().send(json!({"to": {"tokens": targets}, "title": "Hi"})).await;
    for round in 1..=3 {
        service.until_received(round * 40).await;
        service.end_nodes().await;
        let received = sent(&service.ledger()).len();
        assert!(received < 2 * EACH, "it was stopped in the middle");
        assert_eq!(
            service.database.count(RECORDED).await,
            i64::try_from(received).unwrap(),
            "all that was in flight has ended and is on record"
        );
        service.node(Role::All).await;
    }
    let outcomes = service.notifications().outcomes(&id).await;
    assert_eq!(outcomes.len(), 2 * EACH);
    outcomes.iter().for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
    assert_eq!(sent(&service.ledger()).len(), 2 * EACH);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_that_wait_survive_a_restart() {
    let mut service = TestService::start().await;
    let fault = Action::FcmFault {
        fault: FcmFault::QuotaExceeded,
        retry_after: Some("3600".to_owned()),
        retry_after_date_seconds: None,
    };
    service.rule(Rule { action: fault, ..Rule::default() }.times_per_token(1));
    let id =
        service.notifications().send(json!({"to": {"tokens": fcm_targets("f", 50)}, "title": "Hi"})).await;
    let waiting = "select coalesce(sum(device_count), 0)::bigint from jobs where class = 1 and attempt = 2";
    service.database.until_count(waiting, 50).await;
    service.end_nodes().await;
    assert_eq!(service.database.count(waiting).await, 50);
    service.node(Role::All).await;
    service.lanes().retry(fcm::LANE).await;
    let outcomes = service.notifications().outcomes(&id).await;
    assert_eq!(outcomes.len(), 50);
    outcomes.iter().for_each(|outcome| assert_ended(outcome, "accepted", 2, None));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_node_says_so_and_still_accepts_notifications() {
    let mut service = TestService::start().await;
    // The node ends when this is answered.
    service.rule(Rule::token("slow0", Action::Accept).delayed(Duration::from_secs(10)));
    let slow =
        service.notifications().send(json!({"to": {"tokens": fcm_targets("slow", 1)}, "title": "Hi"})).await;
    service.until_received(1).await;
    assert_eq!(service.get("/readyz").await.status, 200);
    service.drain_nodes();
    let mut ready = service.get("/readyz").await;
    while ready.status == 200 {
        ready = service.get("/readyz").await;
    }
    assert_eq!((ready.status.as_u16(), &ready.body["code"]), (503, &json!("shutting_down")));
    assert!(ready.headers.contains_key("retry-after"));
    let late =
        service.notifications().send(json!({"to": {"tokens": fcm_targets("late", 1)}, "title": "Hi"})).await;
    service.end_nodes().await;
    assert_eq!(sent(&service.ledger()).len(), 1, "it begins nothing more");
    service.node(Role::All).await;
    for id in [&slow, &late] {
        assert_ended(&service.notifications().outcome(id).await, "accepted", 1, None);
    }
    service.stop().await;
}
