//! Suspensions that the database takes late, and those of several nodes (docs/lane_states.md).

use std::time::Duration;

use pushpost::runtime::Role;
use pushpost_simulator::{Action, Provider, Rule, Settings};
use pushpost_testkit::json::{apns_targets, assert_ended};
use pushpost_testkit::postgres_proxy::PostgresProxy;
use pushpost_testkit::service::{PRODUCTION, TestService, sent};
use pushpost_testkit::wait::{WAIT_MAX, until};

use super::{SUSPENDED, assert_untouched, hello, unhurried, write_new_key};

/// Longer than a node ignores a suspension that it reads after it stored a recovery, and time for a reading.
const SETTLED: Duration = Duration::from_secs(14);
const LEASED: &str = "select count(*) from jobs where node_id is not null";

fn rejected() -> Rule {
    Rule::provider(Provider::Apns, Action::answer(403, "InvalidProviderToken"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovery_found_while_the_database_is_away_is_stored_and_not_taken_back() {
    let mut service = TestService::builder().build().await;
    let proxy = PostgresProxy::of(&service.database).await;
    service.configure("DATABASE__URL", proxy.url());
    // The node is not declared dead meanwhile.
    service.configure("DELIVERY__NODE_TIMEOUT", "60s");
    service.node(Role::All).await;
    service.rule(rejected());
    let id = service.notifications().send(hello(apns_targets("a", 1))).await;
    service.database.until_count(SUSPENDED, 1).await;
    service.lanes().until_state(PRODUCTION, "suspended").await;
    service.database.until_count(LEASED, 0).await;

    service.simulator.clear_rules();
    service.rule(Rule::provider(Provider::Apns, Action::Accept).delayed(Duration::from_secs(3)));
    let refused = sent(&service.ledger()).len();
    service.lanes().retry(PRODUCTION).await;
    service.until_received(refused + 1).await;
    proxy.set_away(true);
    assert!(service.ledger().wait_until(WAIT_MAX, |ledger| ledger.accepted_count() == 1).await);
    tokio::time::sleep(SETTLED).await;
    proxy.set_away(false);
    // There is no further device: a lane that took the recovery back would have no probe, and stay suspended.
    service.database.until_count(SUSPENDED, 0).await;
    assert_ended(&service.notifications().outcome(&id).await, "accepted", 1, None);
    service.lanes().until_state(PRODUCTION, "running").await;
    service.expect_outage_log();
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_keys_that_are_rejected_on_two_nodes_stay_suspended_until_an_operator_resumes_the_lane() {
    let mut service = unhurried(Settings::default()).await;
    service.rule(rejected());
    let waiting = service.notifications().send(hello(apns_targets("a", 20))).await;
    service.lanes().until_state(PRODUCTION, "suspended").await;
    service.database.until_count(SUSPENDED, 1).await;
    service.database.until_count(LEASED, 0).await;
    // Right after it stored its suspension, the first node ignores what it reads.
    until_read_again(&service, 1).await;
    write_new_key(&service);
    // The first node does not look at its files again.
    service.node(Role::Worker).await;
    let suspended = "select count(*) from lane_reports where state = 3";
    service.database.until_count(suspended, 2).await;
    service.database.until_count(LEASED, 0).await;

    // Both nodes read the row again, which names one of the keys.
    let refused = sent(&service.ledger()).len();
    until_read_again(&service, 2).await;
    assert_eq!(service.database.count(suspended).await, 2);
    assert_eq!(sent(&service.ledger()).len(), refused, "a refused key is used again");

    service.simulator.clear_rules();
    service.lanes().resume(PRODUCTION).await;
    assert_untouched(&service, &waiting, 20).await;
    service.database.until_count(suspended, 0).await;
    service.stop().await;
}

/// Waits until this number of nodes have read the lane's row so long after this moment that they no longer ignore it.
async fn until_read_again(service: &TestService, nodes: i64) {
    let now_ms = service.database.now_ms().await;
    let read_again = async || {
        let reported = format!(
            "select count(*) from lane_reports join lanes using (lane_id) where platform = {} and environment = 1
             and reported_at > to_timestamp({now_ms} / 1000.0) + interval '12 seconds'",
            PRODUCTION.platform().code()
        );
        service.database.count(&reported).await == nodes
    };
    until("the nodes have read the lane again", read_again).await;
}
