//! A failover to a server that lagged behind: ids that the lost server gave out after the last replicated moment are not
//! given out again, and nodes that remember them drop their leases (docs/queue.md#failover).

use std::cell::RefCell;
use std::collections::BTreeSet;

use pushpost_simulator::{Action, Ledger, Provider, Rule};
use reqwest::Method;
use serde_json::json;

use pushpost_testkit::database::{MIGRATIONS, TestDatabase};
use pushpost_testkit::processes::{TestCluster, TestNode};
use pushpost_testkit::wait::WAIT_MAX;

use super::own_server::Server;

const DEVICES: usize = 3;

/// Registers devices, as soon as the process can; answers their public ids.
async fn register(cluster: &TestCluster, node: &TestNode, prefix: &str) -> BTreeSet<String> {
    let ids = RefCell::new(BTreeSet::new());
    for number in 0..DEVICES {
        let token = format!("{prefix}{number}");
        let device = json!({"platform": "fcm", "token": token, "user": prefix});
        let registered = || async {
            let (status, answer) = cluster.ask(node, Method::PUT, "/v1/devices", Some(&device)).await;
            if status == Some(201) || status == Some(200) {
                ids.borrow_mut().insert(answer["id"].as_str().unwrap().to_owned());
            }
            status == Some(201) || status == Some(200)
        };
        cluster.until("a device is registered", &[node], registered).await;
    }
    ids.into_inner()
}

/// The highest numbers of devices, jobs and nodes, and the lowest, of those that are stored now.
async fn numbers(server: &Server) -> [(i64, i64); 3] {
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "select coalesce(max(device_id), 0), coalesce(min(device_id), 0) from devices
         union all select coalesce(max(job_id), 0), coalesce(min(job_id), 0)
           from (select job_id from jobs union all select job_id from receipts) j
         union all select coalesce(max(node_id), 0)::bigint, coalesce(min(node_id), 0)::bigint
           from nodes where dead_at is null",
    )
    .fetch_all(&mut server.connect().await)
    .await
    .unwrap();
    rows.try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_id_is_given_twice_after_a_failover_to_a_lagging_server() {
    let mut server = Server::create().await;
    server.start("primary").await;
    MIGRATIONS.run(&mut server.connect().await).await.unwrap();
    let delivery = [("node_timeout", "5s"), ("retry_initial", "20ms")];
    let cluster = TestCluster::on(TestDatabase::existing(server.url()), &delivery).await;
    server.stop("-INT").await;
    server.replicate().await;
    server.start("primary").await;

    let node = cluster.node(cluster.database.url()).await;
    let lost_devices = register(&cluster, &node, "lost").await;
    cluster.simulator.add_rule(Rule::provider(Provider::Fcm, Action::NoAnswer { accepted: false }));
    let lost = cluster.notify(&node, &json!({"to": {"users": ["lost"]}, "title": "Hi"})).await;
    let under_way = |ledger: &Ledger| {
        ledger.entries().into_iter().filter(|entry| entry.token.is_some()).count() >= DEVICES
    };
    assert!(cluster.simulator.ledger().wait_until(WAIT_MAX, under_way).await, "its attempts are under way");
    let before = numbers(&server).await;

    server.fail_over().await;
    cluster.simulator.clear_rules();
    let devices = register(&cluster, &node, "new").await;
    assert!(devices.is_disjoint(&lost_devices), "an id never means another phone");
    let id = cluster.notify(&node, &json!({"to": {"users": ["new"]}, "title": "Hi"})).await;
    let accepted = async || cluster.counts(&node, &id).await["accepted"] == DEVICES;
    cluster.until("the new notification is sent", &[&node], accepted).await;
    let entered_again = async || numbers(&server).await[2].1 > before[2].0;
    cluster.until("the process goes on under a new id", &[&node], entered_again).await;
    let after = numbers(&server).await;
    for ((highest, _), (_, lowest)) in before.iter().zip(after) {
        assert!(lowest > *highest, "{before:?} {after:?}");
    }
    // Ids of events are made from positions: none of the lost server's is given to another event.
    let told = async || {
        let sql = "select count(*) from event_log where kind = 2 and position > 1000000";
        sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut server.connect().await).await.unwrap() == 1
    };
    cluster
        .until("the end of the new notification is in the log, far behind the old head", &[&node], told)
        .await;
    let gone = cluster.ask(&node, Method::GET, &format!("/v1/notifications/{lost}"), None).await;
    assert_eq!(gone.0, Some(404), "the failover lost it, and nothing of it is another's: {}", gone.1);
    let recorded: i64 = sqlx::query_scalar("select sum(accepted + unknown + retried)::bigint from receipts")
        .fetch_one(&mut server.connect().await)
        .await
        .unwrap();
    assert_eq!(recorded, i64::try_from(DEVICES).unwrap(), "no outcome of the lost notification is recorded");
}
