//! The process that made the first attempt is killed: the history of the device still has that attempt, and the next one, which
//! another process makes.

use http::Method;
use pushpost_simulator::{Action, Rule};
use pushpost_testkit::json::{assert_has, hex};
use serde_json::{Value, json};

use pushpost_testkit::processes::{TestCluster, TestNode};

async fn delivery(cluster: &TestCluster, node: &TestNode, id: &str) -> Value {
    let path = format!("/v1/notifications/{id}/deliveries?history=true");
    let (status, page) = cluster.ask(node, Method::GET, &path, None).await;
    assert_eq!(status, Some(200), "{page}");
    page["items"][0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_goes_on_where_another_process_does() {
    let cluster = TestCluster::create(&[("node_timeout", "2s"), ("retry_initial", "10m")]).await;
    let mut first = cluster.node(cluster.database.url()).await;
    cluster.simulator.add_rule(Rule::token(hex("aa"), Action::answer(503, "ServiceUnavailable")).times(1));
    let to = json!({"tokens": [{"platform": "apns", "token": hex("aa")}]});
    let id = cluster.notify(&first, &json!({"to": to, "title": "Hi"})).await;
    let tried = async || delivery(&cluster, &first, &id).await["attempts"] == 1;
    cluster.until("the first attempt is recorded", &[&first], tried).await;
    first.kill().await;

    let second = cluster.node(cluster.database.url()).await;
    let attempt =
        json!({"attempt": 1, "outcome": "retry", "reason": "ServiceUnavailable", "waited_for": "queue"});
    let waits = delivery(&cluster, &second, &id).await;
    assert_has(
        &waits,
        &json!({"status": "pending", "last_reason": "ServiceUnavailable", "history": [attempt]}),
    );
    let (status, lane) =
        cluster.ask(&second, Method::POST, "/v1/admin/lanes/apns-production/retry", None).await;
    assert_eq!(status, Some(200), "{lane}");
    let ended = async || cluster.counts(&second, &id).await["accepted"] == 1;
    cluster.until("the second attempt is made", &[&second], ended).await;
    let done = delivery(&cluster, &second, &id).await;
    assert_has(
        &done,
        &json!({"status": "accepted", "attempts": 2, "reason": null, "last_reason": "ServiceUnavailable", "history": [
            attempt, {"attempt": 2, "outcome": "accepted", "reason": null, "waited_for": "backoff"},
        ]}),
    );
    assert_eq!(done["history"].as_array().unwrap().len(), 2);
}
