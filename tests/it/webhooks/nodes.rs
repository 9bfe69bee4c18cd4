//! Two nodes share webhooks; each is killed in turn, and Postgres ends all sessions. Receivers lose nothing, and get at most one
//! message again for each kill.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::Method;
use pushpost_testkit::json::fcm_targets;
use pushpost_testkit::processes::{TestCluster, TestMachine, TestNode, providers, signal};
use pushpost_testkit::wait;
use pushpost_testkit::webhook_receiver::{PostedMessage, Reply, WebhookReceiver};
use serde_json::{Value, json};

use super::{event_ids, webhooks};

pub(super) async fn cluster(setting: &str) -> TestCluster {
    let mut cluster = TestCluster::create(&[("node_timeout", "2s")]).await;
    cluster.variable("PUSHPOST__WEBHOOKS__ALLOW_NETWORKS", "[\"127.0.0.0/8\"]");
    cluster.variable("PUSHPOST__WEBHOOKS__RETRY_AFTER", "[\"20ms\"]");
    cluster.variable("PUSHPOST__APPS__SHOP__WEBHOOKS", setting);
    cluster
}

/// The ids of the events of the log that a webhook gets by default.
pub(super) async fn log(cluster: &TestCluster, node: &TestNode) -> Vec<String> {
    let types = "type=notification.*&type=delivery.recorded&type=device.*&limit=1000";
    let (status, page) = cluster.ask(node, Method::GET, &format!("/v1/events?{types}"), None).await;
    assert_eq!(status, Some(200), "{page}");
    let items = page["items"].as_array().unwrap().iter();
    items.map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

/// Events in the order of their first arrival, and the messages that came more than once.
pub(super) fn first_arrivals(messages: &[PostedMessage]) -> (Vec<String>, usize) {
    let mut seen = BTreeSet::new();
    let first = event_ids(messages).into_iter().filter(|id| seen.insert(id.clone())).collect();
    let mut counts = BTreeMap::new();
    messages.iter().for_each(|message| *counts.entry(message.id()).or_insert(0) += 1);
    (first, counts.values().map(|count| count - 1).sum())
}

pub(crate) fn hello(number: usize) -> Value {
    json!({"to": {"tokens": fcm_targets(&format!("t{number}-"), 3)}, "title": "Hi"})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_nodes_lose_no_event_and_repeat_one_message_at_most() {
    let (one, two) = (WebhookReceiver::start().await, WebhookReceiver::start().await);
    let setting = webhooks(&[("one", &one.url(), ", batch_max=5"), ("two", &two.url(), "")]);
    let cluster = cluster(&setting).await;
    let url = cluster.database.url().to_owned();
    let mut nodes = vec![cluster.node(&url).await, cluster.node(&url).await];
    let kills = 4;
    for round in 0..kills {
        for number in 0..10 {
            cluster.notify(&nodes[1], &hello(round * 10 + number)).await;
        }
        let mut killed = nodes.remove(0);
        killed.kill().await;
        nodes.push(cluster.node(&url).await);
    }
    let last = &nodes[1];
    let all = (kills * 10, "ends");
    wait::until("every notification has ended in the log", async || {
        let (_, page) =
            cluster.ask(last, Method::GET, "/v1/events?type=notification.done&limit=1000", None).await;
        page["items"].as_array().is_some_and(|items| items.len() == all.0)
    })
    .await;
    let log = log(&cluster, last).await;
    for (name, receiver) in [("one", &one), ("two", &two)] {
        let messages = receiver
            .until(&format!("all events at {name}"), |all| first_arrivals(all).0.len() >= log.len())
            .await;
        let (arrived, doubles) = first_arrivals(&messages);
        assert_eq!(arrived, log, "{name}: all events, in order");
        assert!(doubles <= kills, "{name}: {doubles} messages came again after {kills} kills");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_postgres_loses_no_event() {
    let receiver = WebhookReceiver::start().await;
    let cluster = cluster(&webhooks(&[("one", &receiver.url(), ", batch_max=2")])).await;
    let node = cluster.node(cluster.database.url()).await;
    for round in 0..3 {
        for number in 0..5 {
            cluster.notify(&node, &hello(round * 5 + number)).await;
        }
        // Every session of the service ends, in whatever it does.
        sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname = current_database() and backend_type = 'client backend'")
            .execute(&cluster.database.pool)
            .await
            .ok();
    }
    wait::until("every notification has ended in the log", async || {
        let (_, page) =
            cluster.ask(&node, Method::GET, "/v1/events?type=notification.done&limit=1000", None).await;
        page["items"].as_array().is_some_and(|items| items.len() == 15)
    })
    .await;
    let log = log(&cluster, &node).await;
    let messages = receiver.until("all events", |all| first_arrivals(all).0.len() >= log.len()).await;
    let (arrived, doubles) = first_arrivals(&messages);
    assert_eq!(arrived, log);
    assert!(doubles <= 3, "{doubles} messages came again");
}

/// The answer comes while Postgres is away, so that it is put on record when Postgres is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_of_postgres_loses_no_event_and_repeats_one_message_at_most() {
    let receiver = WebhookReceiver::start().await;
    receiver.reply(Reply::Held(200));
    let machine = TestMachine::new(providers(Duration::ZERO), "").await;
    let mut node = machine
        .serve_with(&[
            ("PUSHPOST__WEBHOOKS__ALLOW_NETWORKS", "[\"127.0.0.0/8\"]"),
            ("PUSHPOST__WEBHOOKS__RETRY_AFTER", "[\"20ms\"]"),
            ("PUSHPOST__APPS__SHOP__WEBHOOKS", &webhooks(&[("one", &receiver.url(), ", batch_max=2")])),
        ])
        .await;
    let key = machine.key("send,read,admin").await;
    for number in 0..4 {
        let (status, answer) = machine.post(&key, "/v1/notifications", &hello(number)).await.unwrap();
        assert_eq!(status, 202, "{answer}");
    }
    let ended = "/v1/events?type=notification.done";
    let is_logged = async |count: usize| {
        let answer = machine.get(&key, ended).await;
        answer.is_ok_and(|(_, page)| page["items"].as_array().is_some_and(|items| items.len() >= count))
    };
    wait::until("four have ended in the log", async || is_logged(4).await).await;
    receiver.until("the first message", |all| all.len() == 1).await;

    let postmaster = machine.postmaster().expect("Postgres runs");
    signal("-KILL", postmaster).await;
    receiver.let_answer(1);
    receiver.reply(Reply::Status(200));
    wait::until("Postgres runs again", async || machine.postmaster().is_some_and(|pid| pid != postmaster))
        .await;
    wait::until("another one is accepted", async || {
        machine.post(&key, "/v1/notifications", &hello(4)).await.is_ok_and(|(status, _)| status == 202)
    })
    .await;
    wait::until("it has ended in the log", async || is_logged(5).await).await;
    let types = "/v1/events?type=notification.*&type=delivery.recorded&type=device.*&limit=1000";
    let (_, page) = machine.get(&key, types).await.unwrap();
    let items = page["items"].as_array().unwrap().iter();
    let log: Vec<_> = items.map(|event| event["id"].as_str().unwrap().to_owned()).collect();
    let messages = receiver.until("all events", |all| first_arrivals(all).0.len() >= log.len()).await;
    let (arrived, doubles) = first_arrivals(&messages);
    assert_eq!(arrived[..log.len()], log);
    assert!(doubles <= 1, "{doubles} messages came again");
    assert!(node.is_running());
}
