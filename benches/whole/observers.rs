//! What an operator's side does to a running service: a scrape of its metrics each second, a collector that takes its
//! spans, and a client that follows its events.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::{clock, simulator};

/// Between two scrapes, as the issue of the row asks.
const SCRAPE: Duration = Duration::from_secs(1);

/// A collector that reads what it gets and keeps its size only.
pub(crate) struct Collector {
    address: SocketAddr,
    bytes: Arc<AtomicU64>,
    /// Ends with the collector.
    _task: JoinSet<()>,
}

impl Collector {
    /// Listens on a free port.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, bytes) = (listener.local_addr()?, Arc::new(AtomicU64::new(0)));
        let router =
            Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&bytes)).into_make_service();
        let mut task = JoinSet::new();
        task.spawn(async move {
            // It is aborted at the end; an error before shows as spans that don't arrive.
            let _ended = axum::serve(listener, router).await;
        });
        Ok(Self { address, bytes, _task: task })
    }

    /// The address for `telemetry.otlp_endpoint`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Bytes of spans so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

async fn take(State(bytes): State<Arc<AtomicU64>>, body: Bytes) -> StatusCode {
    bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
    StatusCode::OK
}

/// Follows the event log by server-sent events, until it is ended.
pub(crate) struct EventTail {
    task: JoinSet<anyhow::Result<()>>,
    latencies: Arc<Mutex<Vec<Duration>>>,
}

impl EventTail {
    /// Begins with the present end of the log of `service`. Events are without devices.
    pub(crate) async fn start(service: SocketAddr, key: &str) -> anyhow::Result<Self> {
        let url = format!("http://{service}/v1/events?type=delivery.recorded&devices=none");
        // Without a time-out: the stream is open for as long as the bench runs.
        let request = reqwest::Client::new().get(url).bearer_auth(key).header("accept", "text/event-stream");
        let mut answer = request.send().await?;
        ensure!(answer.status().is_success(), "the stream was answered {}", answer.status());
        let latencies = Arc::new(Mutex::new(Vec::new()));
        let (mut task, taken) = (JoinSet::new(), Arc::clone(&latencies));
        task.spawn(async move {
            let mut read = Vec::new();
            while let Some(chunk) = answer.chunk().await? {
                let now_us = clock::now_us();
                read.extend_from_slice(&chunk);
                while let Some(end) = read.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = read.drain(..=end).collect();
                    let Some(event) = line.strip_prefix(b"data: ") else { continue };
                    let event: Value = serde_json::from_slice(event)?;
                    let at: DateTime<Utc> = event["at"].as_str().context("an event has a time")?.parse()?;
                    let latency = u64::try_from(now_us - at.timestamp_micros()).unwrap_or_default();
                    let mut latencies = taken.lock().unwrap_or_else(PoisonError::into_inner);
                    latencies.push(Duration::from_micros(latency));
                }
            }
            bail!("the stream has ended")
        });
        Ok(Self { task, latencies })
    }

    /// From the beginning of the transaction of each event, in whole milliseconds, to its arrival here.
    ///
    /// # Errors
    /// The stream has failed.
    pub(crate) fn latencies(&mut self) -> anyhow::Result<Vec<Duration>> {
        if let Some(ended) = self.task.try_join_next() {
            ended.context("the stream of events")??;
        }
        Ok(self.latencies.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Scrapes `/metrics` until it is ended.
pub(crate) struct Scraper {
    task: JoinSet<anyhow::Result<()>>,
    scrapes: Arc<AtomicU64>,
}

impl Scraper {
    /// Begins at once.
    pub(crate) fn start(service: SocketAddr) -> anyhow::Result<Self> {
        let (http, scrapes) = (simulator::client()?, Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&scrapes);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut ticks = interval(SCRAPE);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                ticks.tick().await;
                let answer = http.get(format!("http://{service}/metrics")).send().await?;
                ensure!(answer.status().is_success(), "a scrape was answered {}", answer.status());
                answer.bytes().await?;
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Ok(Self { task, scrapes })
    }

    /// Ends it. Returns the number of scrapes.
    ///
    /// # Errors
    /// A scrape failed.
    pub(crate) async fn end(mut self) -> anyhow::Result<u64> {
        if let Some(ended) = self.task.try_join_next() {
            ended.context("the scraper")??;
        }
        Ok(self.scrapes.load(Ordering::Relaxed))
    }
}
