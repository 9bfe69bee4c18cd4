//! Webhooks with receivers of every kind, while nodes and receivers are killed and the secret is changed.

use http::Method;
use pushpost_testkit::processes::{TestCluster, TestNode};
use serde_json::{Value, json};

use super::receivers::{NamedReceiver, POISON, Receivers};
use super::rounds;
use crate::crash::events::post;
use crate::webhooks::SECRET;
use crate::webhooks::nodes::hello;
use crate::webhooks::readme_receiver::{OTHER_SECRET, ReadmeReceiver};

/// The rotation needs two rounds for each of its steps, because a round starts one of two nodes anew.
const ROUNDS_MIN: usize = 6;
/// The default waits, 5 s to 15 min, divided by about 500: two minutes are a quarter of a second here.
const RETRY_AFTER: &str = "[\"20ms\", \"60ms\", \"250ms\", \"600ms\", \"2s\"]";

/// The rounds in which the secret changes.
struct Rotation {
    rounds: usize,
}

impl Rotation {
    /// 0: the old secret alone signs, 1: both, 2: the new one alone.
    fn step(&self, round: usize) -> usize {
        round * 3 / self.rounds
    }

    /// What a node that starts in this round signs with.
    fn secrets(&self, round: usize) -> &'static [&'static str] {
        [&[SECRET][..], &[OTHER_SECRET, SECRET], &[OTHER_SECRET]][self.step(round)]
    }

    /// Both nodes sign with both secrets, for the first time, once the node of this round has started.
    fn overlaps_from(&self, round: usize) -> bool {
        round > 1 && [2, 1, 0].map(|before| self.step(round - before)) == [0, 1, 1]
    }

    /// The node of the next round no longer signs with the old secret.
    fn overlaps_until(&self, round: usize) -> bool {
        (self.step(round), self.step(round + 1)) == (1, 2)
    }
}

/// Two nodes with webhooks to all the receivers.
struct NodePair {
    cluster: TestCluster,
    nodes: Vec<TestNode>,
    node_kills: usize,
}

impl NodePair {
    async fn set_up(receivers: &Receivers) -> Self {
        let mut cluster = TestCluster::create(&[("node_timeout", "3s"), ("retry_initial", "50ms")]).await;
        cluster.variable("PUSHPOST__WEBHOOKS__ALLOW_NETWORKS", "[\"127.0.0.0/8\"]");
        cluster.variable("PUSHPOST__WEBHOOKS__RETRY_AFTER", RETRY_AFTER);
        cluster.variable("PUSHPOST__APPS__SHOP__WEBHOOKS", &receivers.setting(&[SECRET]));
        let url = cluster.database.url();
        let nodes = vec![cluster.node(url).await, cluster.node(url).await];
        Self { cluster, nodes, node_kills: 0 }
    }

    /// `kill -9`, then a new process with the configuration of now.
    async fn replace_node(&mut self, number: usize) {
        self.nodes[number].kill().await;
        self.node_kills += 1;
        self.nodes[number] = self.cluster.node(self.cluster.database.url()).await;
    }

    async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.cluster.ask(&self.nodes[0], Method::GET, path, None).await;
        assert_eq!(status, Some(200), "{path}: {answer}");
        answer
    }

    /// The webhook to this receiver.
    async fn webhook(&self, of: &NamedReceiver) -> Value {
        let list = self.get("/v1/admin/webhooks").await;
        let mut items = list["items"].as_array().unwrap().iter();
        items.find(|item| item["name"] == of.name).unwrap().clone()
    }

    async fn until_state(&self, of: &NamedReceiver, state: &str) {
        let what = format!("webhook {} is {state}", of.name);
        self.until(&what, async || self.webhook(of).await["state"] == state).await;
    }

    async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        self.cluster.until(what, &[&self.nodes[0], &self.nodes[1]], is_so).await;
    }

    /// The path of the webhook's commands.
    async fn path(&self, of: &NamedReceiver) -> String {
        format!("/v1/admin/webhooks/{}", self.webhook(of).await["id"].as_str().unwrap())
    }

    /// All items of a list.
    async fn list(&self, path: &str) -> Vec<Value> {
        let (mut items, mut page) = (Vec::new(), self.get(path).await);
        loop {
            items.append(page["items"].as_array_mut().unwrap());
            let next = page["next_cursor"].as_str().filter(|_| page["has_more"] != false);
            let Some(cursor) = next else { return items };
            page = self.get(&format!("{path}&cursor={cursor}")).await;
        }
    }

    /// Posts, and waits until some of it has come to the receiver, so that its next message is under way.
    async fn post_until_arriving(&self, receiver: &ReadmeReceiver, number: usize) {
        let before = receiver.printed_count();
        post(&self.cluster, &self.nodes, number).await;
        self.until("the receiver gets more", async || receiver.printed_count() > before).await;
    }
}

/// The ids of these events.
fn ids<'a>(events: impl Iterator<Item = &'a Value>) -> Vec<String> {
    events.map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

#[ignore = "minutes long: make chaos"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_of_every_kind_get_their_events_in_order_through_kills_and_a_rotation() {
    let rotation = Rotation { rounds: rounds().max(ROUNDS_MIN) };
    let mut all = Receivers::start(SECRET).await;
    let mut pair = NodePair::set_up(&all).await;
    pair.cluster.notify(&pair.nodes[0], &hello(0)).await;
    pair.until_state(&all.gone, "disabled").await;
    let mut poison = hello(1);
    poison["label"] = json!(POISON);
    pair.cluster.notify(&pair.nodes[0], &poison).await;

    for round in 0..rotation.rounds {
        let setting = all.setting(rotation.secrets(round));
        pair.cluster.variable("PUSHPOST__APPS__SHOP__WEBHOOKS", &setting);
        pair.post_until_arriving(&all.victim(round).receiver, 2 * round).await;
        pair.replace_node(round % pair.nodes.len()).await;
        pair.post_until_arriving(&all.victim(round).receiver, 2 * round + 1).await;
        all.victim(round).replace().await;
        if rotation.overlaps_from(round) {
            all.python.secret = OTHER_SECRET;
            all.python.replace().await;
        }
        if rotation.overlaps_until(round) {
            pair.until_state(&all.down, "failing").await;
            for receiver in [&mut all.node, &mut all.slow, &mut all.picky] {
                receiver.secret = OTHER_SECRET;
                receiver.replace().await;
            }
            all.down.secret = OTHER_SECRET;
            all.down.start_again();
        }
    }

    let pending = "select (select count(*) from jobs) + (select count(*) from event_outbox) + (select count(*) from event_ending)";
    pair.until("an event is set aside", async || pair.webhook(&all.picky).await["set_aside"] == 1).await;
    for receiver in [&all.python, &all.node, &all.slow, &all.picky, &all.down] {
        pair.until_state(receiver, "active").await;
    }
    // What became of the webhooks is told by then too.
    pair.cluster.database.until_count(pending, 0).await;
    let log = pair.list("/v1/events?devices=none&limit=1000").await;
    let repeats = assert_arrivals(&pair, &all, &log).await;
    assert_states(&pair, &all, &log).await;
    assert_replay(&pair, &all.python, &ids(log.iter())).await;
    println!(
        "{} rounds, {} kills of nodes, {} of receivers, {} events; messages that came again: {repeats}",
        rotation.rounds,
        pair.node_kills,
        all.kills(),
        log.len(),
    );
}

/// Every receiver has every event of its types in the log's order. Answers how many messages came to which one again.
async fn assert_arrivals(pair: &NodePair, all: &Receivers, log: &[Value]) -> String {
    let everything = ids(log.iter());
    let ends = log.iter().filter(|event| event["type"] == "notification.done");
    let harmless = ids(ends.filter(|event| event["data"]["label"] != POISON));
    let mut repeats = Vec::new();
    for receiver in [&all.python, &all.node, &all.slow, &all.down, &all.picky] {
        let wanted = if receiver.name == all.picky.name { &harmless } else { &everything };
        let last = wanted.last().unwrap();
        pair.until(&format!("the last event at {}", receiver.name), async || receiver.has(last)).await;
        let count = receiver.assert_complete(wanted, pair.node_kills);
        repeats.push(format!("{} {count}", receiver.name));
    }
    repeats.join(", ")
}

/// What the API and the log say of the webhooks, and that no attempt was refused for its signature.
async fn assert_states(pair: &NodePair, all: &Receivers, log: &[Value]) {
    let told = |kind: &str| {
        let events = log.iter().filter(|event| event["type"] == kind);
        events.map(|event| event["data"]["name"].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(told("webhook.disabled"), [all.gone.name]);
    assert_eq!(told("webhook.set_aside"), [all.picky.name]);
    assert!(told("webhook.failing").contains(&all.down.name));
    assert!(told("webhook.recovered").contains(&all.down.name));
    // What the log had before the answer 410, once.
    let disabled = log.iter().position(|event| event["type"] == "webhook.disabled").unwrap();
    let at_gone = all.gone.receiver.printed();
    assert!(
        ids(log[..disabled].iter()).starts_with(&at_gone.into_iter().map(|(id, _)| id).collect::<Vec<_>>())
    );
    let gone = pair.webhook(&all.gone).await;
    assert_eq!((&gone["state"], &gone["why"]), (&json!("disabled"), &json!("status 410")));
    let poisoned = log.iter().filter(|event| event["type"] == "notification.done");
    let poisoned = ids(poisoned.filter(|event| event["data"]["label"] == POISON));
    let path = pair.path(&all.picky).await;
    let set_aside = pair.list(&format!("{path}/set-aside?limit=100")).await;
    let set_aside: Vec<_> = set_aside.iter().map(|item| item["event"].as_str().unwrap()).collect();
    assert_eq!(set_aside, poisoned);
    for receiver in [&all.python, &all.node, &all.slow, &all.down, &all.picky] {
        let path = format!("{}/attempts?result=failed&limit=100", pair.path(receiver).await);
        let failed = pair.list(&path).await;
        let refused = failed.iter().find(|attempt| attempt["status"] == 401);
        assert_eq!(refused, None, "{}", receiver.name);
    }
}

/// After a replay from the middle of the log, its events come again in their order with their ids.
async fn assert_replay(pair: &NodePair, to: &NamedReceiver, log: &[String]) {
    let before = to.receiver.printed_count();
    let replayed = &log[log.len() / 2..];
    let path = format!("{}/replay", pair.path(to).await);
    let from = json!({"from": replayed[0]});
    let (status, answer) = pair.cluster.ask(&pair.nodes[0], Method::POST, &path, Some(&from)).await;
    assert_eq!(status, Some(200), "{answer}");
    let arrivals = || {
        let printed = to.receiver.printed().split_off(before);
        let ids = printed.into_iter().map(|(id, _)| id);
        ids.skip_while(|id| *id != replayed[0]).take(replayed.len()).collect::<Vec<_>>()
    };
    pair.until("the replay", async || arrivals().len() == replayed.len()).await;
    assert_eq!(arrivals(), replayed);
}
