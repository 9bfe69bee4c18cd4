//! Readers of the event log, of every form, while nodes are killed and Postgres goes away: each sees every event once, and all in
//! the same order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::json::hex;
use pushpost_testkit::postgres_proxy::PostgresProxy;
use pushpost_testkit::processes::{TestCluster, TestNode};
use pushpost_testkit::wait::{POLL_INTERVAL, WAIT_MAX};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

const EVENTS: &str = "/v1/events?type=delivery.*&type=notification.*";
/// Devices of each notification.
const DEVICES: usize = 3;
/// Kills of a node, and outages of Postgres.
const FAULTS: usize = 3;
/// Notifications that are accepted between two faults.
const PER_FAULT: usize = 60;

/// What readers know: where nodes listen, and how many notifications there are once that is known.
#[derive(Clone)]
struct Reading {
    key: String,
    addresses: watch::Receiver<Vec<String>>,
    ends: watch::Receiver<Option<usize>>,
}

/// What a reader has seen.
#[derive(Default)]
struct Seen {
    events: Vec<Value>,
    ends: usize,
}

impl Seen {
    fn add(&mut self, event: Value) {
        self.ends += usize::from(event["type"] != "delivery.recorded");
        self.events.push(event);
    }

    fn last(&self) -> Option<&str> {
        self.events.last().map(|event| event["id"].as_str().unwrap())
    }
}

impl Reading {
    fn is_over(&self, seen: &Seen) -> bool {
        self.ends.borrow().is_some_and(|ends| seen.ends >= ends)
    }

    /// Asks one node after the other, until one answers 200.
    async fn ask(&self, query: &str, accept: &str, last: Option<&str>) -> Response {
        let begun = Instant::now();
        for turn in 0.. {
            let addresses = self.addresses.borrow().clone();
            let address = &addresses[turn % addresses.len()];
            let client = Client::builder().no_proxy().build().unwrap();
            let request = client.get(format!("http://{address}{EVENTS}{query}"));
            let request = request.bearer_auth(&self.key).header("accept", accept);
            let request = last.into_iter().fold(request, |request, id| request.header("last-event-id", id));
            if let Ok(response) = request.send().await
                && response.status() == 200
            {
                return response;
            }
            assert!(begun.elapsed() < WAIT_MAX, "no node answers");
            sleep(POLL_INTERVAL).await;
        }
        unreachable!("the loop has no end");
    }

    /// Reads lines that begin with `prefix` and hold an event, until the connection ends. `pause`: between two of them.
    async fn read(&self, mut response: Response, prefix: &str, pause: Duration, seen: &mut Seen) {
        let mut read = Vec::new();
        while !self.is_over(seen) {
            let Ok(chunk) = timeout(Duration::from_secs(1), response.chunk()).await else { continue };
            let Some(chunk) = chunk.ok().flatten() else { return };
            read.extend(chunk);
            while let Some(end) = read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = read.drain(..=end).collect();
                let line = String::from_utf8(line).unwrap();
                if let Some(event) = line.trim_end().strip_prefix(prefix).filter(|json| json.starts_with('{'))
                {
                    seen.add(serde_json::from_str(event).unwrap());
                    sleep(pause).await;
                }
            }
        }
    }

    async fn tail(self, pause: Duration) -> Vec<Value> {
        let mut seen = Seen::default();
        while !self.is_over(&seen) {
            let last = seen.last().map(str::to_owned);
            let response =
                self.ask("&since=2026-01-01T00:00:00Z", "text/event-stream", last.as_deref()).await;
            self.read(response, "data: ", pause, &mut seen).await;
        }
        seen.events
    }

    async fn follow(self) -> Vec<Value> {
        let mut seen = Seen::default();
        while !self.is_over(&seen) {
            let after = seen.last().map_or_else(String::new, |id| format!("&after={id}"));
            let response = self.ask(&format!("&follow=true{after}"), "application/x-ndjson", None).await;
            self.read(response, "", Duration::ZERO, &mut seen).await;
        }
        seen.events
    }

    async fn turn_pages(self) -> Vec<Value> {
        let (mut seen, mut cursor) = (Seen::default(), String::new());
        while !self.is_over(&seen) {
            let response = self.ask(&format!("&limit=7{cursor}"), "application/json", None).await;
            let Ok(page) = response.json::<Value>().await else { continue };
            for event in page["items"].as_array().unwrap() {
                seen.add(event.clone());
            }
            cursor = format!("&cursor={}", page["next_cursor"].as_str().unwrap());
            if page["has_more"] == false {
                sleep(POLL_INTERVAL).await;
            }
        }
        seen.events
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reader_sees_every_event_once_and_in_the_same_order_through_kills_and_outages() {
    let database = TestDatabase::create().await;
    let proxy = PostgresProxy::of(&database).await;
    let cluster =
        Arc::new(TestCluster::on(database, &[("node_timeout", "3s"), ("retry_initial", "50ms")]).await);
    let mut nodes = vec![cluster.node(proxy.url()).await, cluster.node(proxy.url()).await];
    let listening =
        |nodes: &[TestNode]| nodes.iter().map(|node| node.address().to_owned()).collect::<Vec<_>>();
    let (addresses, known_addresses) = watch::channel(listening(&nodes));
    let (ends, known_ends) = watch::channel(None);
    let reading =
        Reading { key: cluster.full_key().to_owned(), addresses: known_addresses, ends: known_ends };
    let mut readers = JoinSet::new();
    readers.spawn(reading.clone().tail(Duration::ZERO));
    readers.spawn(reading.clone().tail(Duration::from_millis(20)));
    readers.spawn(reading.clone().follow());
    readers.spawn(reading.turn_pages());

    for fault in 0..FAULTS {
        post(&cluster, &nodes, fault).await;
        let killed = fault % nodes.len();
        nodes[killed].kill().await;
        nodes[killed] = cluster.node(proxy.url()).await;
        addresses.send_replace(listening(&nodes));
        post(&cluster, &nodes, FAULTS + fault).await;
        proxy.set_away(true);
        sleep(POLL_INTERVAL).await;
        proxy.set_away(false);
    }
    let pending = "select (select count(*) from jobs) + (select count(*) from event_outbox) + (select count(*) from event_ending)";
    cluster.database.until_count(pending, 0).await;
    let accepted = cluster.database.count("select count(*) from notifications").await;
    ends.send_replace(Some(usize::try_from(accepted).unwrap()));

    let mut all: Vec<Vec<Value>> = Vec::new();
    while let Some(seen) = timeout(WAIT_MAX, readers.join_next()).await.expect("readers see the end") {
        all.push(seen.unwrap());
    }
    let ids = |seen: &Vec<Value>| seen.iter().map(|event| event["id"].to_string()).collect::<Vec<_>>();
    for other in &all[1..] {
        assert_eq!(ids(other), ids(&all[0]), "the same events in the same order");
    }
    assert_eq!(ids(&all[0]).into_iter().collect::<BTreeSet<_>>().len(), all[0].len(), "no event twice");
    assert_whole(&all[0], usize::try_from(accepted).unwrap());
}

/// Posts until so many are accepted, to one node after the other.
async fn post(cluster: &TestCluster, nodes: &[TestNode], round: usize) {
    let begun = Instant::now();
    let mut accepted = 0;
    for number in 0.. {
        let tokens: Vec<_> = (0..DEVICES)
            .map(|device| json!({"platform": "apns", "token": format!("{}{round:02x}{number:04x}{device:02x}", &hex("ab")[..56])}))
            .collect();
        let body = json!({"to": {"tokens": tokens}, "title": "Hi"});
        let node = &nodes[number % nodes.len()];
        let (status, _) = cluster.ask(node, Method::POST, "/v1/notifications", Some(&body)).await;
        accepted += usize::from(status == Some(202));
        if accepted == PER_FAULT {
            return;
        }
        assert!(begun.elapsed() < WAIT_MAX, "{accepted} accepted: {}", node.end_of_log());
    }
}

/// Each device of each notification has its outcome in one event, and each notification ends in one, which is its last.
fn assert_whole(events: &[Value], accepted: usize) {
    let mut outcomes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut ended: BTreeSet<&str> = BTreeSet::new();
    for event in events {
        let data = &event["data"];
        let id = data["notification"].as_str().unwrap();
        assert!(!ended.contains(id), "an event after the end: {event}");
        if event["type"] != "delivery.recorded" {
            ended.insert(id);
            let devices = outcomes.get(id).map_or(0, Vec::len);
            assert_eq!((devices, &data["counts"]["targets"]), (DEVICES, &json!(DEVICES)), "{event}");
            continue;
        }
        let devices =
            data["devices"].as_array().unwrap().iter().map(|device| device["device"].as_str().unwrap());
        outcomes.entry(id).or_default().extend(devices);
    }
    assert_eq!(ended.len(), accepted);
    for (id, devices) in outcomes {
        assert_eq!(devices.iter().collect::<BTreeSet<_>>().len(), DEVICES, "{id}: {devices:?}");
    }
}
