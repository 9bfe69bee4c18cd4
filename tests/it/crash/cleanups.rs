//! The nodes of a clean-up run are killed, again and again: while devices are counted, quarantined and restored.

use pushpost_testkit::processes::{TestCluster, TestNode};
use reqwest::Method;
use serde_json::{Value, json};

const DEVICES: i64 = 40_000;
const CLEANUPS: &str = "/v1/admin/cleanups";
/// Devices of `shop` that were registered 100 days ago.
const FILL: &str = "
    insert into devices (app_id, platform, environment, token, token_digest, registered_at)
    select (select app_id from apps where name = 'shop'), 2, 0, i::text, decode(md5(i::text), 'hex'),
           now() - interval '100 days'
    from generate_series(1, 40000) i";

/// Kills the node as soon as the run stands so, and starts another one.
async fn kill_when(cluster: &TestCluster, mut node: TestNode, what: &str, condition: &str) -> TestNode {
    let sql = format!("select count(*) from cleanup_runs where {condition}");
    cluster.until(what, &[&node], async || cluster.database.count(&sql).await == 1).await;
    node.kill().await;
    cluster.node(cluster.database.url()).await
}

async fn until_status(cluster: &TestCluster, node: &TestNode, path: &str, status: &str) -> Value {
    let ended = async || cluster.ask(node, Method::GET, path, None).await.1["status"] == status;
    cluster.until(status, &[node], ended).await;
    cluster.ask(node, Method::GET, path, None).await.1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_survives_the_death_of_its_nodes_at_any_point() {
    let cluster = TestCluster::create(&[("node_timeout", "5s")]).await;
    let node = cluster.node(cluster.database.url()).await;
    assert_eq!(cluster.database.execute(FILL).await, DEVICES.unsigned_abs());
    let body = json!({"inactive_days": 30, "max_share": 1});
    let (status, run) = cluster.ask(&node, Method::POST, CLEANUPS, Some(&body)).await;
    assert_eq!(status, Some(202), "{run}");
    let path = format!("{CLEANUPS}/{}", run["id"].as_str().unwrap());

    let counting = "status = 0 and scanned > 0 and counted_at is null";
    let node = kill_when(&cluster, node, "devices are counted", counting).await;
    let quarantining = "status = 0 and quarantined > 0";
    let node = kill_when(&cluster, node, "devices are quarantined", quarantining).await;
    let more = "status = 0 and quarantined > 10000";
    let node = kill_when(&cluster, node, "more devices are quarantined", more).await;
    let ended = until_status(&cluster, &node, &path, "done").await;
    for count in ["scanned", "matched", "quarantined"] {
        assert_eq!(ended[count], DEVICES, "{count} of {ended}");
    }
    let quarantined =
        "select count(*) from devices where quarantined_at is not null and quarantine_run is not null";
    assert_eq!(cluster.database.count(quarantined).await, DEVICES);

    cluster.ask(&node, Method::POST, &format!("{path}/restore"), None).await;
    let restoring = "status = 4 and restored > 0";
    let node = kill_when(&cluster, node, "devices are restored", restoring).await;
    let restored = until_status(&cluster, &node, &path, "restored").await;
    assert_eq!(restored["restored"], DEVICES, "{restored}");
    assert_eq!(cluster.database.count(quarantined).await, 0);
}
