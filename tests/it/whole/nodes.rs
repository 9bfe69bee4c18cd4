//! Several nodes on one database (docs/queue.md#node-lease).

use std::collections::BTreeSet;
use std::time::Duration;

use http::Method;
use pushpost::provider::fcm;
use pushpost::runtime::Role;
use pushpost_simulator::{Action, Rule};
use pushpost_testkit::json::{apns_targets, assert_ended, assert_has, fcm_targets, of};
use pushpost_testkit::service::{TestService, sent};
use pushpost_testkit::wait::{until, until_some};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_accepted_by_one_node_is_sent_by_another() {
    let mut service = TestService::builder().node(Role::Api).build().await;
    let early =
        service.notifications().send(json!({"to": {"tokens": apns_targets("a", 300)}, "title": "Hi"})).await;
    assert_eq!(service.database.count("select count(*) from jobs where node_id is null").await, 1);
    service.node(Role::Worker).await;
    let late =
        service.notifications().send(json!({"to": {"tokens": fcm_targets("f", 300)}, "title": "Hi"})).await;
    for id in [&early, &late] {
        let outcomes = service.notifications().outcomes(id).await;
        assert_eq!(outcomes.len(), 300);
        outcomes.iter().for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
    }
    assert_eq!(sent(&service.ledger()).len(), 600);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_share_what_waits_and_send_each_once() {
    let mut service = TestService::builder().config("DELIVERY__MAX_IN_FLIGHT", "20").build().await;
    service.lanes().pause(fcm::LANE).await;
    service.node(Role::Api).await;
    service.node(Role::Worker).await;
    service.node(Role::Worker).await;
    let mut ids = Vec::new();
    for part in 0..20 {
        let targets = fcm_targets(&format!("f{part}-"), 100);
        ids.push(service.notifications().send(json!({"to": {"tokens": targets}, "title": "Hi"})).await);
    }
    service.lanes().resume(fcm::LANE).await;
    for id in &ids {
        assert_eq!(service.notifications().until_done(id).await["counts"]["accepted"], 100);
    }
    let tokens: BTreeSet<_> = sent(&service.ledger()).into_iter().filter_map(|entry| entry.token).collect();
    assert_eq!((tokens.len(), sent(&service.ledger()).len()), (2_000, 2_000));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jobs_of_a_silent_node_are_sent_once_by_another() {
    let mut service = TestService::builder().node(Role::Api).build().await;
    let id =
        service.notifications().send(json!({"to": {"tokens": apns_targets("a", 700)}, "title": "Hi"})).await;
    let silent: i32 =
        sqlx::query_scalar("insert into nodes (name, beat) values ('silent', 7) returning node_id")
            .fetch_one(&service.database.pool)
            .await
            .unwrap();
    let leased = format!("update jobs set node_id = {silent}, version = version + 1");
    assert_eq!(service.database.execute(&leased).await, 2);
    service.node(Role::Worker).await;
    let other =
        service.notifications().send(json!({"to": {"tokens": fcm_targets("f", 10)}, "title": "Hi"})).await;
    service.notifications().until_done(&other).await;
    assert_eq!(sent(&service.ledger()).len(), 10, "a living node's jobs are its own");
    let outcomes = service.notifications().outcomes(&id).await;
    assert_eq!(outcomes.len(), 700);
    outcomes.iter().for_each(|outcome| assert_ended(outcome, "accepted", 1, None));
    assert_eq!(sent(&service.ledger()).len(), 710);
    let dead = format!("select count(*) from nodes where node_id = {silent} and dead_at is not null");
    assert_eq!(service.database.count(&dead).await, 1);
    service.expect_log("has stopped beating");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_unknown_to_its_living_node_is_not_stranded() {
    let mut service = TestService::builder().build().await;
    service.lanes().pause(fcm::LANE).await;
    service.node(Role::All).await;
    let id =
        service.notifications().send(json!({"to": {"tokens": fcm_targets("f", 3)}, "title": "Hi"})).await;
    // As after a COMMIT with a lost answer.
    let leased = "update jobs set node_id = (select max(node_id) from nodes), version = version + 1";
    assert_eq!(service.database.execute(leased).await, 1);
    service.lanes().resume(fcm::LANE).await;
    for outcome in service.notifications().outcomes(&id).await {
        assert_ended(&outcome, "accepted", 1, None);
    }
    service.expect_log("released jobs that were leased to this node");
    service.stop().await;
}

/// What operators are told of the nodes.
async fn listed(service: &TestService) -> Vec<Value> {
    let answer = service.by_admin(Method::GET, "/v1/admin/nodes").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["items"].as_array().unwrap().clone()
}

fn with_role<'a>(nodes: &'a [Value], role: &str) -> &'a Value {
    of(nodes, "role", role)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_the_nodes_their_roles_and_the_one_leader() {
    let mut service = TestService::builder().node(Role::Api).build().await;
    service.node(Role::Worker).await;
    let nodes = until_some("a leader", async || {
        let nodes = listed(&service).await;
        nodes.iter().any(|node| node["leader"] == true).then_some(nodes)
    })
    .await;
    assert_eq!(nodes.len(), 2, "{nodes:?}");
    assert_eq!(nodes.iter().filter(|node| node["leader"] == true).count(), 1, "{nodes:?}");
    for node in &nodes {
        let alive = json!({"version": env!("CARGO_PKG_VERSION"), "draining": false, "dead_at": null});
        assert_has(node, &alive);
        let age = node["heartbeat_age_seconds"].as_f64().unwrap();
        assert!((0.0..60.0).contains(&age), "{node}");
    }
    let worker = with_role(&nodes, "worker")["node"].clone();
    service.end_node(1).await;
    let left = listed(&service).await;
    assert!(left.iter().all(|node| node["node"] != worker), "it was shut down: {left:?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_node_is_shown_until_a_node_starts_on_its_host() {
    let service = TestService::builder().node(Role::Api).build().await;
    let died = "insert into nodes (name, role, started_at, beat_at, dead_at, ended_orderly)
                values ('push-1-17', 'worker', now() - interval '1 h', now() - interval '2 min', now(), false),
                       ('push-2-17', 'worker', now() - interval '1 h', now() - interval '2 min', now(), true)";
    assert_eq!(service.database.execute(died).await, 2);
    let dead = with_role(&listed(&service).await, "worker").clone();
    assert_eq!(dead["name"], "push-1-17");
    assert!(dead["dead_at"].is_string() && dead["heartbeat_age_seconds"].as_f64() > Some(100.0), "{dead}");
    assert_eq!(listed(&service).await.len(), 2, "the other one was shut down");
    let elsewhere = "insert into nodes (name, role) values ('push-11-20', 'worker')";
    service.database.execute(elsewhere).await;
    assert_eq!(listed(&service).await.len(), 3);
    service.database.execute("insert into nodes (name, role) values ('push-1-20', 'worker')").await;
    let names: Vec<_> = listed(&service).await.iter().map(|node| node["name"].clone()).collect();
    assert!(!names.contains(&json!("push-1-17")) && names.contains(&json!("push-1-20")), "{names:?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_shuts_down_says_so_while_it_finishes_its_work() {
    let mut service = TestService::builder().node(Role::Api).node(Role::Worker).build().await;
    // The worker ends when this is answered.
    service.rule(Rule::token("slow0", Action::Accept).delayed(Duration::from_secs(10)));
    let id =
        service.notifications().send(json!({"to": {"tokens": fcm_targets("slow", 1)}, "title": "Hi"})).await;
    service.until_received(1).await;
    service.drain_node(1);
    until("it drains", async || with_role(&listed(&service).await, "worker")["draining"] == true).await;
    assert_eq!(with_role(&listed(&service).await, "api")["draining"], false);
    service.end_node(1).await;
    assert_ended(&service.notifications().outcome(&id).await, "accepted", 1, None);
    service.stop().await;
}
