//! Good, slow, picky, absent and gone receivers together, while nodes and receivers are killed: each good one gets every
//! event of the log in order, and what one receiver does is nothing to the others.

use http::Method;
use pushpost_testkit::processes::{TestCluster, TestNode};
use pushpost_testkit::wait;
use pushpost_testkit::webhook_receiver::{PostedMessage, Reply, WebhookReceiver};
use serde_json::{Value, json};

use super::SECRET;
use super::nodes::{cluster, first_arrivals, hello};
use super::readme_receiver::{Language, OTHER_SECRET, ReadmeReceiver};

const ROUNDS: usize = 4;
const PER_ROUND: usize = 5;
/// Of a node in each round, and of each receiver that is a process in every other one.
const KILLS: usize = ROUNDS + ROUNDS / 2;
/// Events of a message to such a receiver at most.
const BATCH_MAX: usize = 3;
const POISON: &str = "\"label\":\"poison\"";

/// The ends that the log has: id of the event, and whether the receivers that are picky refuse it.
async fn ends(cluster: &TestCluster, node: &TestNode) -> Vec<(String, bool)> {
    let path = "/v1/events?type=notification.done&limit=1000";
    let (status, page) = cluster.ask(node, Method::GET, path, None).await;
    assert_eq!(status, Some(200), "{page}");
    let of = |event: &Value| (event["id"].as_str().unwrap().to_owned(), event["data"]["label"] == "poison");
    page["items"].as_array().unwrap().iter().map(of).collect()
}

async fn shown(cluster: &TestCluster, node: &TestNode, name: &str) -> Value {
    let (_, list) = cluster.ask(node, Method::GET, "/v1/admin/webhooks", None).await;
    let items = list["items"].as_array().unwrap();
    items.iter().find(|item| item["name"] == name).unwrap().clone()
}

/// The messages that a picky receiver has taken.
fn taken(messages: &[PostedMessage]) -> Vec<PostedMessage> {
    messages.iter().filter(|message| !message.body.contains(POISON)).cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_of_every_kind_get_what_is_theirs_while_nodes_and_receivers_are_killed() {
    let mut in_python = ReadmeReceiver::start(Language::Python, SECRET);
    let mut in_node = ReadmeReceiver::start(Language::Node, OTHER_SECRET);
    let (slow, picky) = (WebhookReceiver::start().await, WebhookReceiver::start().await);
    let (absent, gone) = (WebhookReceiver::start().await, WebhookReceiver::start().await);
    slow.reply(Reply::Held(200));
    picky.decide(|message| Reply::Status(if message.body.contains(POISON) { 500 } else { 200 }));
    absent.reply(Reply::Close);
    gone.reply(Reply::Status(410));
    let webhook = |(name, url, batch_max): (&str, String, usize)| {
        format!(
            "{{name=\"{name}\", url=\"{url}\", secrets=[\"{SECRET}\", \"{OTHER_SECRET}\"], \
             types=[\"notification.done\"], batch_max={batch_max}}}"
        )
    };
    let all = [
        ("python", in_python.url(), BATCH_MAX),
        ("node", in_node.url(), BATCH_MAX),
        ("slow", slow.url(), 2),
        ("picky", picky.url(), 4),
        ("absent", absent.url(), 5),
        ("gone", gone.url(), 1),
    ];
    let cluster = cluster(&format!("[{}]", all.map(webhook).join(", "))).await;
    let url = cluster.database.url().to_owned();
    let mut nodes = vec![cluster.node(&url).await, cluster.node(&url).await];
    for round in 0..ROUNDS {
        for number in 0..PER_ROUND {
            let mut body = hello(round * PER_ROUND + number);
            if (round, number) == (1, 2) {
                body["label"] = json!("poison");
            }
            cluster.notify(&nodes[1], &body).await;
        }
        nodes.remove(0).kill().await;
        nodes.push(cluster.node(&url).await);
        slow.let_answer(2);
        let is_even = round % 2 == 0;
        let (receiver, secret) =
            if is_even { (&mut in_python, SECRET) } else { (&mut in_node, OTHER_SECRET) };
        receiver.kill().await;
        receiver.start_again(secret);
    }
    let node = &nodes[1];
    wait::until("every notification has ended in the log", async || {
        ends(&cluster, node).await.len() == ROUNDS * PER_ROUND
    })
    .await;
    absent.reply(Reply::Status(200));
    slow.reply(Reply::Status(200));
    slow.let_answer(1_000);

    let log = ends(&cluster, node).await;
    let ids: Vec<String> = log.iter().map(|(id, _)| id.clone()).collect();
    for (name, receiver) in [("python", &in_python), ("node", &in_node)] {
        wait::until(&format!("all events at {name}"), async || receiver.done().len() == ids.len()).await;
        assert_eq!(receiver.done(), ids, "{name}: all events, in order, verified");
        let doubles = receiver.printed_count() - ids.len();
        assert!(doubles <= KILLS * BATCH_MAX, "{name}: {doubles} events came again after {KILLS} kills");
    }
    for (name, receiver) in [("slow", &slow), ("absent", &absent)] {
        let all = receiver
            .until(&format!("all events at {name}"), |all| first_arrivals(all).0.len() == ids.len())
            .await;
        assert_eq!(first_arrivals(&all).0, ids, "{name}");
    }
    let harmless: Vec<String> =
        log.iter().filter(|(_, is_poison)| !is_poison).map(|(id, _)| id.clone()).collect();
    let all = picky
        .until("all others at the picky one", |all| first_arrivals(&taken(all)).0.len() == harmless.len())
        .await;
    assert_eq!(first_arrivals(&taken(&all)).0, harmless);
    wait::until("one is set aside", async || shown(&cluster, node, "picky").await["set_aside"] == 1).await;
    // A message has arrived before its success is on record.
    for (name, state) in [("gone", "disabled"), ("python", "active")] {
        wait::until(&format!("{name} is {state}"), async || {
            shown(&cluster, node, name).await["state"] == state
        })
        .await;
    }

    // A replay repeats the ids of the events.
    let before = in_node.printed_count();
    let id = shown(&cluster, node, "node").await["id"].as_str().unwrap().to_owned();
    let from = json!({"from": ids[0]});
    let path = format!("/v1/admin/webhooks/{id}/replay");
    let (status, answer) = cluster.ask(node, Method::POST, &path, Some(&from)).await;
    assert_eq!(status, Some(200), "{answer}");
    wait::until("the replay", async || in_node.printed_count() >= before + ids.len()).await;
    assert_eq!(in_node.done(), ids, "no new id");
}
