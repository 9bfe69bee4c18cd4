//! Figures of the database are shown by exactly one living node, whatever becomes of the leader.

use http::Method;
use pushpost_testkit::json::fcm_targets;
use pushpost_testkit::processes::{TestCluster, TestNode};
use pushpost_testkit::scrape::Scrape;
use serde_json::json;

const WAITING: &str = r#"pushpost_queue_devices{lane="shop/fcm",priority="normal"}"#;
const BACKLOG: f64 = 30.0;

async fn scrape(cluster: &TestCluster, node: &TestNode) -> Scrape {
    let answer = cluster.http.get(node.url("/metrics")).send().await.unwrap();
    Scrape::read(answer.text().await.unwrap())
}

/// What one node shows. More than what waits is never shown.
async fn shown(cluster: &TestCluster, node: &TestNode) -> Option<f64> {
    let shown = scrape(cluster, node).await.get(WAITING);
    assert!(shown.unwrap_or_default() <= BACKLOG, "{shown:?}");
    shown
}

/// Two processes, of which the first leads and shows what waits.
async fn led_by_the_first() -> (TestCluster, TestNode, TestNode) {
    let cluster = TestCluster::create(&[("node_timeout", "3s")]).await;
    let url = cluster.database.url().to_owned();
    let first = cluster.node(&url).await;
    cluster.until("the first process leads", &[&first], async || cluster.is_led_by(&first).await).await;
    let second = cluster.node(&url).await;
    let (status, _) = cluster.ask(&first, Method::POST, "/v1/admin/lanes/fcm/pause", None).await;
    assert_eq!(status, Some(200));
    let body = json!({"to": {"tokens": fcm_targets("f", 30)}, "title": "Hi"});
    cluster.notify(&second, &body).await;
    cluster
        .until("the leader has counted", &[&first, &second], async || {
            shown(&cluster, &first).await == Some(BACKLOG)
        })
        .await;
    assert_eq!(shown(&cluster, &second).await, None, "it does not lead");
    (cluster, first, second)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_death_of_the_leader_another_node_shows_what_waits() {
    let (cluster, mut first, second) = led_by_the_first().await;
    first.kill().await;
    cluster
        .until("another node shows it", &[&second], async || shown(&cluster, &second).await == Some(BACKLOG))
        .await;
    assert_eq!(scrape(&cluster, &second).await.value("pushpost_nodes"), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_hung_shows_nothing_of_what_it_read_before() {
    let (cluster, first, second) = led_by_the_first().await;
    first.hang().await;
    cluster
        .until("another node shows it", &[&second], async || shown(&cluster, &second).await == Some(BACKLOG))
        .await;
    first.resume().await;
    assert_eq!(shown(&cluster, &first).await, None, "the other one leads");
    assert_eq!(scrape(&cluster, &first).await.value("pushpost_leader"), 0.0);
    assert_eq!(shown(&cluster, &second).await, Some(BACKLOG));
}
