//! A process was killed after the provider took a request and before the outcome was recorded: the device stays in doubt until
//! a later attempt is answered (docs/queue.md#attempts-in-doubt).

use pushpost_simulator::{Action, Ledger, Provider, Rule};
use serde_json::json;
use sqlx::AssertSqlSafe;

use pushpost_testkit::processes::{TestCluster, TestNode};
use pushpost_testkit::wait::WAIT_MAX;

const DEVICES: usize = 5;

/// A notification that the provider took; its process was killed before the answer. Its lane is paused, and another
/// process runs.
async fn taken_and_not_recorded(cluster: &TestCluster) -> (TestNode, String) {
    let mut first = cluster.node(cluster.database.url()).await;
    for number in 0..DEVICES {
        let device = json!({"platform": "fcm", "token": format!("f{number}"), "user": "ann"});
        let (status, answer) = cluster.ask(&first, http::Method::PUT, "/v1/devices", Some(&device)).await;
        assert_eq!(status, Some(201), "{answer}");
    }
    cluster.simulator.add_rule(Rule::provider(Provider::Fcm, Action::NoAnswer { accepted: true }));
    let id = cluster.notify(&first, &json!({"to": {"users": ["ann"]}, "title": "Hi"})).await;
    let ledger = cluster.simulator.ledger();
    let taken = |ledger: &Ledger| {
        let entries = ledger.entries().into_iter();
        entries.filter(|entry| entry.token.is_some() && entry.accepted).count() >= DEVICES
    };
    assert!(ledger.wait_until(WAIT_MAX, taken).await, "the provider takes them");
    first.kill().await;
    cluster.simulator.clear_rules();
    execute(cluster, "update lanes set paused_at = now() where platform = 2").await;
    let second = cluster.node(cluster.database.url()).await;
    let swept = async || {
        let waiting: i64 = sqlx::query_scalar("select count(*) from jobs where node_id is null and in_doubt")
            .fetch_one(&cluster.database.pool)
            .await
            .unwrap();
        waiting == 1
    };
    cluster.until("the job of the killed process waits", &[&second], swept).await;
    (second, id)
}

async fn execute(cluster: &TestCluster, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&cluster.database.pool).await.unwrap();
}

async fn assert_unknown(cluster: &TestCluster, node: &TestNode, id: &str) {
    let ended = async || cluster.counts(node, id).await["pending"] == 0;
    cluster.until("the notification is done", &[node], ended).await;
    let counts = cluster.counts(node, id).await;
    assert_eq!(counts["unknown"], DEVICES, "{counts}");
    let path = format!("/v1/notifications/{id}/deliveries");
    let (_, deliveries) = cluster.ask(node, http::Method::GET, &path, None).await;
    for delivery in deliveries["items"].as_array().unwrap() {
        let line = (&delivery["status"], &delivery["attempts"], &delivery["reason"]);
        assert_eq!(line, (&json!("unknown"), &json!(1), &json!("no_answer")), "{delivery}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_without_a_record_does_not_expire() {
    let cluster = TestCluster::create(&[("node_timeout", "2s")]).await;
    let (node, id) = taken_and_not_recorded(&cluster).await;
    execute(&cluster, "update jobs set expires_at = now()").await;
    assert_unknown(&cluster, &node, &id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_without_a_record_is_not_cancelled() {
    let cluster = TestCluster::create(&[("node_timeout", "2s")]).await;
    let (node, id) = taken_and_not_recorded(&cluster).await;
    execute(&cluster, "update devices set user_id = 'bob'").await;
    let resume = "/v1/admin/lanes/fcm/resume";
    let (status, answer) = cluster.ask(&node, http::Method::POST, resume, None).await;
    assert_eq!(status, Some(200), "{answer}");
    assert_unknown(&cluster, &node, &id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_without_a_record_is_accepted_once_a_later_attempt_is_answered() {
    let cluster = TestCluster::create(&[("node_timeout", "2s")]).await;
    let (node, id) = taken_and_not_recorded(&cluster).await;
    let (status, answer) = cluster.ask(&node, http::Method::POST, "/v1/admin/lanes/fcm/resume", None).await;
    assert_eq!(status, Some(200), "{answer}");
    let accepted = async || cluster.counts(&node, &id).await["accepted"] == DEVICES;
    cluster.until("a later attempt is answered", &[&node], accepted).await;
}
