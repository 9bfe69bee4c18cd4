//! Providers that fall silent: a connection, a flow-control window, one request.

use pushpost_testkit::json::{apns_targets, assert_ended, fcm_targets};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pushpost::runtime::Role;
use pushpost_simulator::{Action, ConnectionFault, FcmSettings, Provider, Rule, Settings};
use serde_json::{Value, json};

use pushpost_testkit::service::{TestService, sent};
use pushpost_testkit::wait::WAIT_MAX;

async fn send_to_each(service: &TestService, prefix: &str, count: usize) -> Vec<Value> {
    let mut targets = apns_targets(&format!("a{prefix}"), count);
    targets.extend(fcm_targets(&format!("f{prefix}"), count));
    let id = service.notifications().send(json!({"to": {"tokens": targets}, "title": "Hi"})).await;
    let outcomes = service.notifications().outcomes(&id).await;
    assert_eq!(outcomes.len(), 2 * count);
    outcomes
}

fn each_provider(service: &TestService, action: &Action) {
    for provider in [Provider::Apns, Provider::Fcm] {
        service.rule(Rule::provider(provider, action.clone()).times(1));
    }
}

/// The simulator's connections that took requests of notifications.
fn connections(service: &TestService) -> BTreeSet<u64> {
    sent(&service.ledger()).iter().map(|entry| entry.connection).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_black_hole_leaves_only_its_own_requests_in_doubt() {
    const EACH: usize = 300;
    let service = TestService::start().await;
    send_to_each(&service, "0", 50).await;
    each_provider(&service, &Action::Stall { accepted: true });
    let outcomes = send_to_each(&service, "1", EACH).await;
    for outcome in &outcomes {
        assert_eq!(outcome["status"], "accepted", "{outcome}");
        assert!(outcome["attempts"].as_u64().unwrap() <= 2, "{outcome}");
    }
    let again = outcomes.iter().filter(|outcome| outcome["attempts"] == 2).count();
    assert!(again >= 2, "at least what the holes swallowed knowingly");
    assert_eq!(service.ledger().duplicates().len(), 2, "the others were never taken");
    let mut first = BTreeMap::new();
    for entry in sent(&service.ledger()) {
        let began = *first.entry(entry.token).or_insert(entry.received_ms);
        assert!(entry.received_ms - began < 40_000, "sent again {} ms later", entry.received_ms - began);
    }
    service.stop_with_duplicates().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_an_answer_times_out_alone() {
    let service = TestService::start().await;
    send_to_each(&service, "0", 20).await;
    let (apns, fcm) = (format!("a1{:062x}", 7), "f17".to_owned());
    for token in [&apns, &fcm] {
        service.rule(Rule::token(token, Action::NoAnswer { accepted: false }).times(1));
    }
    let targets = [apns_targets("a1", 50), fcm_targets("f1", 50)].concat();
    let id = service.notifications().send(json!({"to": {"tokens": targets}, "title": "Hi"})).await;
    service.notifications().until_done(&id).await;
    let outcomes = service.notifications().deliveries(&id).await;
    let twice = outcomes.iter().filter(|outcome| outcome["attempts"] == 2);
    assert_eq!(twice.count(), 2);
    outcomes.iter().for_each(|outcome| assert_eq!(outcome["status"], "accepted"));
    let requests = |token: &str| service.received(token).len();
    assert_eq!((requests(&apns), requests(&fcm)), (2, 2));
    let swallowed = [&apns, &fcm].map(|token| service.received(token)[0].connection);
    // The connections live on: each takes requests again, whatever others there may be by now.
    service.ledger().clear();
    let until = tokio::time::Instant::now() + WAIT_MAX;
    let mut number = 0;
    while !swallowed.iter().all(|connection| connections(&service).contains(connection)) {
        assert!(
            tokio::time::Instant::now() < until,
            "{swallowed:?} are not among {:?}",
            connections(&service)
        );
        send_to_each(&service, &format!("2{number:04}"), 20).await;
        number += 1;
    }
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flow_control_window_that_never_opens_costs_one_timeout() {
    let service = TestService::start().await;
    each_provider(&service, &Action::Connection { fault: ConnectionFault::ZeroWindow });
    let outcomes = send_to_each(&service, "0", 100).await;
    for outcome in &outcomes {
        assert_eq!(outcome["status"], "accepted", "{outcome}");
        assert!(outcome["attempts"].as_u64().unwrap() <= 2, "{outcome}");
    }
    assert!(outcomes.iter().any(|outcome| outcome["attempts"] == 2), "the fault has happened");
    service.stop().await;
}

/// Until the lane has said, later than an idle connection lives, that it has none.
async fn until_left(service: &TestService) {
    let now = service.database.now_ms().await;
    let left = format!(
        "select count(*) from lane_reports join lanes using (lane_id)
         where platform = 2 and connections = 0 and extract(epoch from reported_at) * 1000 > {now} + 500"
    );
    service.database.until_count(&left, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_fcm_closed_while_it_was_idle_costs_nothing() {
    let fcm = FcmSettings { idle_close: Some(Duration::from_millis(300)), ..FcmSettings::default() };
    let service = TestService::builder()
        .simulator(Settings { fcm, ..Settings::default() })
        .node(Role::All)
        .build()
        .await;
    for round in 0..3 {
        let token = format!("f{round}");
        assert_ended(&service.notifications().send_to_token("fcm", &token, "1h").await, "accepted", 1, None);
        until_left(&service).await;
    }
    assert!(connections(&service).len() >= 3, "each was closed");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_never_ends_is_cut_off() {
    let service = TestService::start().await;
    let endless = "x".repeat(1 << 20);
    for (token, status) in [("f1", 503), ("f2", 200)] {
        let answer = json!({"token": token, "times": 1,
            "action": {"type": "answer", "status": status, "body": endless}});
        service.rule(serde_json::from_value(answer).unwrap());
    }
    let id =
        service.notifications().send(json!({"to": {"tokens": fcm_targets("f", 20)}, "title": "Hi"})).await;
    let outcomes = service.notifications().outcomes(&id).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome["attempts"] == 2).count(), 1);
    outcomes.iter().for_each(|outcome| assert_eq!(outcome["status"], "accepted"));
    assert_eq!(outcomes.iter().filter(|outcome| outcome["provider_id"].is_null()).count(), 1, "cut off");
    service.stop().await;
}
