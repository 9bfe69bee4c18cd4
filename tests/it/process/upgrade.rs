//! The upgrade of docs/operations.md#upgrade: the schema is widened, then one node after the other is drained and replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use pushpost_simulator::{Ledger, Provider};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use pushpost_testkit::processes::{TestCluster, TestNode};
use pushpost_testkit::wait::{POLL_INTERVAL, WAIT_MAX};

const CLIENTS: usize = 6;
/// Notifications that each state of the cluster gets at least.
const PER_STEP: usize = 100;

/// A load balancer with two servers, and its clients.
struct Load {
    http: reqwest::Client,
    key: String,
    servers: Mutex<[Server; 2]>,
    numbers: AtomicUsize,
    /// The ids by number.
    accepted: Mutex<BTreeMap<usize, String>>,
    is_over: AtomicBool,
}

#[derive(Clone)]
struct Server {
    url: String,
    /// The node was told to stop, so that it may refuse.
    stops: bool,
}

impl Load {
    /// Posts until the load is over. A server that stops may refuse; then the client asks the other one, with the same
    /// key. A server that was not told to stop must take everything.
    async fn post(&self) {
        while !self.is_over.load(Ordering::Relaxed) {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            let mut taken = None;
            for turn in 0.. {
                let server = self.servers.lock().unwrap()[(number + turn) % 2].clone();
                match self.send(&server, number).await {
                    Ok((202, answer)) => taken = Some(answer["id"].as_str().unwrap().to_owned()),
                    other => {
                        let stops =
                            self.servers.lock().unwrap().iter().any(|now| now.url == server.url && now.stops);
                        let is_gone = self.servers.lock().unwrap().iter().all(|now| now.url != server.url);
                        assert!(stops || is_gone, "a node that serves refused: {other:?}");
                        sleep(POLL_INTERVAL).await;
                    }
                }
                if taken.is_some() {
                    break;
                }
            }
            self.accepted.lock().unwrap().insert(number, taken.unwrap());
        }
    }

    async fn send(&self, server: &Server, number: usize) -> reqwest::Result<(u16, Value)> {
        let to = json!({"tokens": [{"platform": "apns", "token": format!("{number:064x}")}]});
        let request = self.http.post(format!("{}/v1/notifications", server.url)).bearer_auth(&self.key);
        let request = request.header("Idempotency-Key", number.to_string());
        let answer = request.json(&json!({"to": to, "title": "A"})).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    /// Waits until so many more notifications are taken.
    async fn until_taken(&self, more: usize) {
        let taken = || self.accepted.lock().unwrap().len();
        let (begun, wanted) = (Instant::now(), taken() + more);
        while taken() < wanted {
            assert!(begun.elapsed() < WAIT_MAX, "the load stands still");
            sleep(POLL_INTERVAL).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_are_replaced_under_load_and_nothing_is_lost_or_refused_by_the_other() {
    let cluster = TestCluster::create(&[]).await;
    let url = cluster.database.url();
    let mut nodes = [cluster.node(url).await, cluster.node(url).await];
    let server = |node: &TestNode| Server { url: node.url(""), stops: false };
    let load = Arc::new(Load {
        http: cluster.http.clone(),
        key: cluster.key("send,read").await,
        servers: Mutex::new([server(&nodes[0]), server(&nodes[1])]),
        numbers: AtomicUsize::new(0),
        accepted: Mutex::default(),
        is_over: AtomicBool::new(false),
    });
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let load = Arc::clone(&load);
        clients.spawn(async move { load.post().await });
    }
    load.until_taken(PER_STEP).await;

    // Expand: what a migration of the next version may do while this version serves.
    for table in ["jobs", "notifications", "receipts", "devices", "nodes"] {
        cluster.database.execute(&format!("alter table {table} add column of_the_next_version text")).await;
    }
    load.until_taken(PER_STEP).await;

    // Roll.
    for (at, node) in nodes.iter_mut().enumerate() {
        load.servers.lock().unwrap()[at].stops = true;
        node.terminate().await;
        load.until_taken(PER_STEP).await;
        assert_eq!(node.ended().await.code(), Some(0), "{}", node.end_of_log());
        assert!(!node.log().contains("drain is not complete"), "{}", node.log());
        *node = cluster.node(url).await;
        load.servers.lock().unwrap()[at] = server(node);
        load.until_taken(PER_STEP).await;
    }
    let sql =
        "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
               and application_name like 'pushpost%'";
    let sessions = cluster.database.count(sql).await;
    assert!(sessions <= 2 * 16, "database.max_connections of each node: {sessions}");
    load.is_over.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }

    let accepted = load.accepted.lock().unwrap().clone();
    assert_eq!(
        accepted.values().collect::<BTreeSet<_>>().len(),
        accepted.len(),
        "one notification for a key"
    );
    for id in accepted.values() {
        cluster
            .until("the notification is done", &[&nodes[0], &nodes[1]], async || {
                cluster.counts(&nodes[0], id).await["accepted"] == 1
            })
            .await;
    }
    let received = received(&cluster.simulator.ledger());
    let wanted = accepted.keys().map(|number| (format!("{number:064x}"), 1)).collect();
    assert_eq!(received, wanted, "each notification was sent once");
}

/// How often a provider took something for a device.
fn received(ledger: &Ledger) -> BTreeMap<String, usize> {
    let taken =
        ledger.entries().into_iter().filter(|entry| entry.accepted && entry.provider == Provider::Apns);
    taken.fold(BTreeMap::new(), |mut received, entry| {
        *received.entry(entry.token.unwrap()).or_default() += 1;
        received
    })
}
