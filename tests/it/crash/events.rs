//! Readers of the event log, of every form, while nodes are killed and Postgres goes away: each sees every event once, and all in
//! the same order.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::json::hex;
use pushpost_testkit::postgres_proxy::PostgresProxy;
use pushpost_testkit::processes::{TestCluster, TestNode};
use pushpost_testkit::wait::{POLL_INTERVAL, WAIT_MAX};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::event_readers::{Pace, Reading, assert_alike};

/// Devices of each notification.
pub(crate) const DEVICES: usize = 3;
/// Kills of a node, and outages of Postgres.
const FAULTS: usize = 3;
/// Notifications that are accepted between two faults.
const PER_FAULT: usize = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reader_sees_every_event_once_and_in_the_same_order_through_kills_and_outages() {
    let database = TestDatabase::create().await;
    let proxy = PostgresProxy::of(&database).await;
    let cluster =
        Arc::new(TestCluster::on(database, &[("node_timeout", "3s"), ("retry_initial", "50ms")]).await);
    let mut nodes = vec![cluster.node(proxy.url()).await, cluster.node(proxy.url()).await];
    let listening =
        |nodes: &[TestNode]| nodes.iter().map(|node| node.address().to_owned()).collect::<Vec<_>>();
    let (addresses, known_addresses) = watch::channel(listening(&nodes));
    let (ends, known_ends) = watch::channel(None);
    let reading =
        Reading { key: cluster.full_key().to_owned(), addresses: known_addresses, ends: known_ends };
    let mut readers = JoinSet::new();
    readers.spawn(reading.clone().tail(Pace::Free));
    readers.spawn(reading.clone().tail(Pace::Each(Duration::from_millis(20))));
    readers.spawn(reading.clone().follow());
    readers.spawn(reading.turn_pages());

    for fault in 0..FAULTS {
        post(&cluster, &nodes, fault).await;
        let killed = fault % nodes.len();
        nodes[killed].kill().await;
        nodes[killed] = cluster.node(proxy.url()).await;
        addresses.send_replace(listening(&nodes));
        post(&cluster, &nodes, FAULTS + fault).await;
        proxy.set_away(true);
        sleep(POLL_INTERVAL).await;
        proxy.set_away(false);
    }
    let pending = "select (select count(*) from jobs) + (select count(*) from event_outbox) + (select count(*) from event_ending)";
    cluster.database.until_count(pending, 0).await;
    let accepted = cluster.database.count("select count(*) from notifications").await;
    ends.send_replace(Some(usize::try_from(accepted).unwrap()));

    assert_alike(readers, usize::try_from(accepted).unwrap(), DEVICES).await;
}

/// Posts until [`PER_FAULT`] are accepted, to one node after the other.
pub(crate) async fn post(cluster: &TestCluster, nodes: &[TestNode], round: usize) {
    let begun = Instant::now();
    // Two digits of the tokens, which repeat after so many rounds.
    let round = round % 256;
    let mut accepted = 0;
    for number in 0.. {
        let tokens: Vec<_> = (0..DEVICES)
            .map(|device| json!({"platform": "apns", "token": format!("{}{round:02x}{number:04x}{device:02x}", &hex("ab")[..56])}))
            .collect();
        let body = json!({"to": {"tokens": tokens}, "title": "Hi"});
        let node = &nodes[number % nodes.len()];
        let (status, _) = cluster.ask(node, Method::POST, "/v1/notifications", Some(&body)).await;
        accepted += usize::from(status == Some(202));
        if accepted == PER_FAULT {
            return;
        }
        assert!(begun.elapsed() < WAIT_MAX, "{accepted} accepted: {}", node.end_of_log());
    }
}
