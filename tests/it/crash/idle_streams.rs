//! A thousand clients that stay connected and get nothing, at two nodes: each node serves as many as it may, refuses the others, and
//! needs no more memory while events pass them by.

use http::StatusCode;
use pushpost_testkit::json::fcm_targets;
use pushpost_testkit::processes::{TestCluster, TestNode};
use reqwest::Response;
use serde_json::json;
use tokio::task::JoinSet;

use super::memory::memory;
use crate::event_streams::client::ask;

const CLIENTS_PER_NODE: usize = 500;
const KEYS: usize = 50;
/// Streams that a node serves at most.
const STREAMS_PER_NODE: usize = 200;
/// No event is of this type here.
const PATH: &str = "/v1/events?type=device.corrected";
/// Notifications that pass the streams by, and their devices.
const NOTIFICATIONS: usize = 100;
const DEVICES: usize = 50;
/// Memory that a node may keep of what passed by, whatever its streams do.
const KEPT_MAX: usize = 24 << 20;

/// Opens streams at a node; answers those that are served.
async fn open(node: &TestNode, keys: &[String]) -> Vec<Response> {
    let mut asking = JoinSet::new();
    for number in 0..CLIENTS_PER_NODE {
        let (url, key) = (node.url(PATH), keys[number % KEYS].clone());
        asking.spawn(async move { ask(url, &key, "text/event-stream", None).await });
    }
    let (mut served, mut refused) = (Vec::new(), 0);
    while let Some(answer) = asking.join_next().await {
        let answer = answer.unwrap();
        match answer.status() {
            StatusCode::OK => served.push(answer),
            status => {
                assert_eq!(
                    (status, &answer.headers()["retry-after"]),
                    (StatusCode::SERVICE_UNAVAILABLE, &"5".parse().unwrap())
                );
                refused += 1;
            }
        }
    }
    assert_eq!((served.len(), refused), (STREAMS_PER_NODE, CLIENTS_PER_NODE - STREAMS_PER_NODE));
    served
}

/// Sends what no stream shows, until its ends are in the log.
async fn pass_by(cluster: &TestCluster, node: &TestNode, prefix: &str) {
    let ends = "select coalesce(sum(cardinality(notifications)), 0)::bigint from event_log where kind = 2";
    let before = cluster.database.count(ends).await;
    for number in 0..NOTIFICATIONS {
        let targets = fcm_targets(&format!("{prefix}{number}-"), DEVICES);
        cluster.notify(node, &json!({"to": {"tokens": targets}, "title": "Hi"})).await;
    }
    let after = before + i64::try_from(NOTIFICATIONS).unwrap();
    cluster.database.until_count(ends, after).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_idle_streams_are_bounded_and_cost_no_memory_as_time_goes_by() {
    let cluster = TestCluster::create(&[]).await;
    let nodes = [cluster.node(cluster.database.url()).await, cluster.node(cluster.database.url()).await];
    let mut keys = Vec::new();
    for _ in 0..KEYS {
        keys.push(cluster.database.create_key("shop", "read").await);
    }
    let mut streams = Vec::new();
    for node in &nodes {
        streams.extend(open(node, &keys).await);
    }
    // Caches and connections are filled by then.
    pass_by(&cluster, &nodes[0], "first").await;
    let memory_of = |node: &TestNode| memory(node.pid(), "VmRSS");
    let before = nodes.each_ref().map(memory_of);
    pass_by(&cluster, &nodes[0], "second").await;
    for (node, before) in nodes.iter().zip(before) {
        let kept = memory_of(node).saturating_sub(before);
        assert!(kept < KEPT_MAX, "{} KiB more with {STREAMS_PER_NODE} streams", kept >> 10);
    }
    drop(streams);
}
