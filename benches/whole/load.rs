//! The load on the API: notifications to one device each, over kept-alive connections.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::http::{Connection, id_in};
use crate::notification;
use crate::stage::Stage;

const PATH: &str = "/v1/notifications";
/// Stands for a device's id until there is one.
const PLACE: &str = "dev_";

/// Which notifications are posted, by how many connections, and where.
#[derive(Clone)]
pub(crate) struct Load {
    address: SocketAddr,
    key: Arc<str>,
    /// A request without the device's id, which stands between the parts.
    parts: Arc<[String]>,
    devices: Arc<[String]>,
}

/// A notification that was accepted.
#[derive(Clone, Debug)]
pub(crate) struct Posted {
    pub(crate) id: String,
    /// When it was sent, or should have been if no connection was free then; in microseconds since 1970.
    pub(crate) sent_us: i64,
    /// Until the 202.
    pub(crate) answered: Duration,
}

/// What came of a fixed rate.
#[derive(Clone, Default, Debug)]
pub(crate) struct Paced {
    pub(crate) posted: Vec<Posted>,
    /// How many were answered 503: too much for it.
    pub(crate) refused: usize,
}

impl Load {
    /// To so many devices of the stage's template, one after the other. `priority` as in the API.
    pub(crate) fn new(stage: &Stage<'_>, devices: u64, priority: &str) -> Self {
        let mut request = notification::to(json!({ "devices": [PLACE] }));
        request["priority"] = priority.into();
        Self::of(stage, devices, &request)
    }

    /// The same with an idempotency key in each request, a new one.
    pub(crate) fn keyed(stage: &Stage<'_>, devices: u64, priority: &str) -> Self {
        let mut request = notification::to(json!({ "devices": [PLACE] }));
        request["priority"] = priority.into();
        request["idempotency_key"] = PLACE.into();
        Self::of(stage, devices, &request)
    }

    /// How many devices it is for.
    pub(crate) fn len(&self) -> usize {
        self.devices.len()
    }

    /// The same to some of its devices, by position.
    pub(crate) fn part(&self, devices: Range<usize>) -> Self {
        Self { devices: self.devices[devices].into(), ..self.clone() }
    }

    /// Requests to one device each, joined to arrays of so many.
    pub(crate) fn batches(&self, items: usize) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.devices.chunks(items).map(|devices| {
            let requests: Vec<String> = devices.iter().map(|device| self.parts.join(device)).collect();
            format!("[{}]", requests.join(",")).into_bytes()
        })
    }

    fn of(stage: &Stage<'_>, devices: u64, request: &Value) -> Self {
        Self {
            address: stage.service.address(),
            key: stage.service.key().into(),
            parts: request.to_string().split(PLACE).map(str::to_owned).collect(),
            devices: (1..=devices).map(|number| stage.device(number)).collect(),
        }
    }

    /// One to each device, as fast as the service answers; from the first POST on. How long each answer took.
    pub(crate) async fn closed(&self, connections: usize) -> anyhow::Result<Vec<Duration>> {
        let next = Arc::new(AtomicUsize::new(0));
        let mut clients = Vec::new();
        for _ in 0..connections {
            clients.push(Client::open(self).await?);
        }
        let mut tasks = JoinSet::new();
        for mut client in clients {
            let (load, next) = (self.clone(), next.clone());
            tasks.spawn(async move {
                let mut answered = Vec::new();
                while let Some(device) = load.devices.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begun = Instant::now();
                    client
                        .post(&load, device)
                        .await?
                        .context("the service refused one: it has too much to do")?;
                    answered.push(begun.elapsed());
                }
                Ok::<_, anyhow::Error>(answered)
            });
        }
        let mut all = Vec::new();
        while let Some(answered) = tasks.join_next().await {
            all.extend(answered??);
        }
        Ok(all)
    }

    /// `rate` a second whether or not the ones before were answered, for `time` or until told to stop.
    pub(crate) async fn open(
        &self,
        connections: u32,
        rate: u32,
        time: Duration,
        stop: &CancellationToken,
    ) -> anyhow::Result<Paced> {
        let between = Duration::from_secs(1) / rate;
        let mut clients = Vec::new();
        for number in 0..connections {
            clients.push((number, Client::open(self).await?));
        }
        let begin = Instant::now();
        let mut tasks = JoinSet::new();
        for (number, client) in clients {
            let pace =
                Pace { begin: begin + between * number, step: between * connections, end: begin + time };
            tasks.spawn(client.keep_pace(self.clone(), number as usize, pace, stop.clone()));
        }
        let mut all = Paced::default();
        while let Some(paced) = tasks.join_next().await {
            let paced: Paced = paced??;
            all.posted.extend(paced.posted);
            all.refused += paced.refused;
        }
        Ok(all)
    }
}

/// When a connection's requests are due.
#[derive(Clone, Copy)]
struct Pace {
    begin: Instant,
    step: Duration,
    end: Instant,
}

struct Client {
    connection: Connection,
    body: Vec<u8>,
}

impl Client {
    async fn open(load: &Load) -> anyhow::Result<Self> {
        Ok(Self { connection: Connection::open(load.address, &load.key).await?, body: Vec::new() })
    }

    /// The id of what was accepted; none if the service has too much to do.
    async fn post(&mut self, load: &Load, device: &str) -> anyhow::Result<Option<&str>> {
        self.body.clear();
        for (position, part) in load.parts.iter().enumerate() {
            let device = if position > 0 { device } else { "" };
            self.body.extend_from_slice(device.as_bytes());
            self.body.extend_from_slice(part.as_bytes());
        }
        let answer = self.connection.post(PATH, &self.body).await?;
        if answer.status == 503 {
            return Ok(None);
        }
        let said = || String::from_utf8_lossy(answer.body);
        ensure!(answer.status == 202, "POST {PATH} was answered {}: {}", answer.status, said());
        id_in(answer.body).map(Some)
    }

    async fn keep_pace(
        mut self,
        load: Load,
        first: usize,
        pace: Pace,
        stop: CancellationToken,
    ) -> anyhow::Result<Paced> {
        let mut paced = Paced::default();
        let mut due = pace.begin;
        while due < pace.end && !stop.is_cancelled() {
            // One that was due while the last was still under way has waited since; that a timer is late is our fault.
            let waited = due.elapsed();
            sleep_until(due).await;
            let sent_us = clock::now_us() - i64::try_from(waited.as_micros())?;
            let begun = Instant::now();
            let device = &load.devices[(first + 7919 * paced.posted.len()) % load.devices.len()];
            match self.post(&load, device).await? {
                Some(id) => {
                    let id = id.to_owned();
                    paced.posted.push(Posted { id, sent_us, answered: begun.elapsed() + waited });
                }
                None => paced.refused += 1,
            }
            due += pace.step;
        }
        Ok(paced)
    }
}
