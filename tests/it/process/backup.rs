//! Backups of docs/operations.md#backup: a database with jobs that wait is dumped, or copied by a base backup; restored beside
//! the original; and a node there sends what waited.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pushpost_simulator::Provider;
use serde_json::json;
use tokio::process::Command;
use tokio::time::sleep;

use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::processes::{TestCluster, TestNode};

/// Notifications that wait when the dump is made.
const WAITING: usize = 20;

async fn program(name: &str, arguments: &[&str]) {
    let output =
        Command::new(name).args(arguments).output().await.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(output.status.success(), "{name}: {output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waited_when_a_dump_was_made_is_sent_by_a_node_on_the_restored_database() {
    let cluster = TestCluster::create(&[]).await;
    let original = cluster.database.url();
    let mut accepting = cluster.node_as(original, &["--role", "api"]).await;
    let token = |number: usize| format!("{number:064x}");
    let mut ids = Vec::new();
    for number in 0..WAITING {
        let to = json!({"tokens": [{"platform": "apns", "token": token(number)}]});
        ids.push(cluster.notify(&accepting, &json!({"to": to, "title": "A"})).await);
    }
    let to = json!({"tokens": [{"platform": "apns", "token": token(WAITING)}]});
    let short = cluster.notify(&accepting, &json!({"to": to, "title": "A", "ttl": "1s"})).await;
    let dump = cluster.path("pushpost.dump");
    program("pg_dump", &["--format=custom", "--file", &dump, original]).await;
    accepting.terminate().await;
    assert!(accepting.ended().await.success());

    // The original goes on, and sends everything.
    let mut node = cluster.node(original).await;
    assert_sent(&cluster, &node, &ids).await;
    node.terminate().await;
    assert!(node.ended().await.success());
    let first = received(&cluster);
    // Until the time to live of the last notification is over.
    sleep(Duration::from_secs(1)).await;

    let restored = TestDatabase::empty().await;
    program("pg_restore", &["--no-owner", "--exit-on-error", "--dbname", restored.url(), &dump]).await;
    let node = cluster.node(restored.url()).await;
    assert_sent(&cluster, &node, &ids).await;
    cluster
        .until("the notification has expired", &[&node], async || {
            cluster.counts(&node, &short).await["expired"] == 1
        })
        .await;
    let both = received(&cluster);
    for number in 0..WAITING {
        let sent = &both[&token(number)];
        assert_eq!(sent.len(), 2, "once by the original, once by the copy");
        assert_eq!(
            sent.iter().collect::<BTreeSet<_>>().len(),
            1,
            "a phone that got both shows one: {sent:?}"
        );
    }
    assert_eq!(both.get(&token(WAITING)), first.get(&token(WAITING)), "what has expired is not sent again");
}

/// Waits until every notification has reached its device, by the records of the node's database.
async fn assert_sent(cluster: &TestCluster, node: &TestNode, ids: &[String]) {
    for id in ids {
        cluster.until("it is sent", &[node], async || cluster.counts(node, id).await["accepted"] == 1).await;
    }
}

/// The `apns-id` of each request that APNs took, by token.
fn received(cluster: &TestCluster) -> BTreeMap<String, Vec<String>> {
    let entries = cluster.simulator.ledger().entries().into_iter();
    let taken = entries.filter(|entry| entry.accepted && entry.provider == Provider::Apns);
    taken.fold(BTreeMap::new(), |mut received: BTreeMap<String, Vec<String>>, entry| {
        let id = entry.header("apns-id").unwrap().to_owned();
        received.entry(entry.token.unwrap()).or_default().push(id);
        received
    })
}
