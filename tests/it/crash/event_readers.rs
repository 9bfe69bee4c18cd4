//! Clients that read the event log in each of its forms while nodes go and come, and what they must have seen together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pushpost_testkit::wait::{POLL_INTERVAL, WAIT_MAX};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

const EVENTS: &str = "/v1/events?type=delivery.*&type=notification.*";

/// What readers know: where nodes listen, and how many notifications there are once that is known.
#[derive(Clone)]
pub(crate) struct Reading {
    pub(crate) key: String,
    pub(crate) addresses: watch::Receiver<Vec<String>>,
    pub(crate) ends: watch::Receiver<Option<usize>>,
}

/// How fast a reader reads.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    Free,
    /// With a pause after each event.
    Each(Duration),
    /// Slowly, until it is known how many notifications there are.
    BytesPerSecond(f64),
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

    async fn wait(&self, pace: Pace, bytes: usize) {
        match pace {
            Pace::Free => {}
            Pace::Each(pause) => sleep(pause).await,
            Pace::BytesPerSecond(rate) if self.ends.borrow().is_none() => {
                sleep(Duration::from_secs_f64(bytes as f64 / rate)).await;
            }
            Pace::BytesPerSecond(_) => {}
        }
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

    /// Reads lines that begin with `prefix` and hold an event, until the connection ends.
    async fn read(&self, mut response: Response, prefix: &str, pace: Pace, seen: &mut Seen) {
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
                    self.wait(pace, event.len()).await;
                }
            }
        }
    }

    /// Reads a stream of server-sent events, and resumes it by `Last-Event-ID`.
    pub(crate) async fn tail(self, pace: Pace) -> Vec<Value> {
        let mut seen = Seen::default();
        while !self.is_over(&seen) {
            let last = seen.last().map(str::to_owned);
            let response =
                self.ask("&since=2026-01-01T00:00:00Z", "text/event-stream", last.as_deref()).await;
            self.read(response, "data: ", pace, &mut seen).await;
        }
        seen.events
    }

    /// Follows the log as NDJSON, and goes on after the last event.
    pub(crate) async fn follow(self) -> Vec<Value> {
        let mut seen = Seen::default();
        while !self.is_over(&seen) {
            let after = seen.last().map_or_else(String::new, |id| format!("&after={id}"));
            let response = self.ask(&format!("&follow=true{after}"), "application/x-ndjson", None).await;
            self.read(response, "", Pace::Free, &mut seen).await;
        }
        seen.events
    }

    /// Asks for one page of JSON after the other.
    pub(crate) async fn turn_pages(self) -> Vec<Value> {
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

/// Waits for the readers, and judges what they have seen of so many notifications with so many devices each.
pub(crate) async fn assert_alike(mut readers: JoinSet<Vec<Value>>, accepted: usize, devices: usize) {
    let mut all: Vec<Vec<Value>> = Vec::new();
    while let Some(seen) = timeout(WAIT_MAX, readers.join_next()).await.expect("readers see the end") {
        all.push(seen.unwrap());
    }
    let ids = |seen: &Vec<Value>| seen.iter().map(|event| event["id"].to_string()).collect::<Vec<_>>();
    for other in &all[1..] {
        assert_eq!(ids(other), ids(&all[0]), "the same events in the same order");
    }
    assert_eq!(ids(&all[0]).into_iter().collect::<BTreeSet<_>>().len(), all[0].len(), "no event twice");
    assert_whole(&all[0], accepted, devices);
}

/// Each of the `devices` of each notification has its outcome in one event, and each notification ends in one, which is its
/// last.
fn assert_whole(events: &[Value], accepted: usize, devices: usize) {
    let mut outcomes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut ended: BTreeSet<&str> = BTreeSet::new();
    for event in events {
        let data = &event["data"];
        let id = data["notification"].as_str().unwrap();
        assert!(!ended.contains(id), "an event after the end: {event}");
        if event["type"] != "delivery.recorded" {
            ended.insert(id);
            let told = outcomes.get(id).map_or(0, Vec::len);
            assert_eq!((told, &data["counts"]["targets"]), (devices, &json!(devices)), "{event}");
            continue;
        }
        let told =
            data["devices"].as_array().unwrap().iter().map(|device| device["device"].as_str().unwrap());
        outcomes.entry(id).or_default().extend(told);
    }
    assert_eq!(ended.len(), accepted);
    for (id, told) in outcomes {
        assert_eq!(told.iter().collect::<BTreeSet<_>>().len(), devices, "{id}: {told:?}");
    }
}
