//! What the event log costs: singles and a broadcast with it, and with two webhooks, two tar pits and a client of a stream too, beside
//! the same where the configuration keeps no events. What readers cost counts until they have read all. And how late an event reaches a
//! client of another node, at a rate that leaves the machine idle most of the time.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use super::arrival::{CONNECTIONS, RATE};
use super::broadcast::Broadcast;
use super::singles::play;
use super::turns::{Compared, broadcasts, by_turns, compare};
use crate::latency::{Latencies, millis};
use crate::load::{Load, Paced};
use crate::observers::EventTail;
use crate::receivers::{Mix, Receivers, all_read};
use crate::report::{Findings, Line, grouped};
use crate::simulator::Manner;
use crate::stage::{Bench, Stage};
use crate::template::Template;
use crate::usage::Cpu;
use crate::wait::{SHORT, until, within};
use pushpost::provider::apns;
use sqlx::Connection as _;
use tokio_util::sync::CancellationToken;

const OFF: &[(&str, &str)] = &[("PUSHPOST__RETENTION__EVENTS", "0s")];
/// Of Postgres's CPU without events.
const MOST_SINGLES: f64 = 1.10;
const MOST_BROADCAST: f64 = 1.03;
/// From the transaction of a receipt to a client of another node.
const MOST_P99: Duration = Duration::from_secs(1);
const WEBHOOKS: Mix = Mix { good: 2, tar_pits: 2, refusing: 0 };
const LOOK: Duration = Duration::from_millis(100);
/// How far the stream may be behind the webhooks.
const CATCH_UP: Duration = Duration::from_secs(120);

/// What of events is there in a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Events {
    Off,
    /// They are logged, and read by nothing.
    Logged,
    /// Webhooks, tar pits and a client of a stream read them.
    Read,
}

impl Events {
    const ALL: [Self; 3] = [Self::Off, Self::Logged, Self::Read];

    fn name(self) -> &'static str {
        match self {
            Self::Off => "",
            Self::Logged => ", with events",
            Self::Read => ", with events and readers",
        }
    }
}

/// A service, and what reads its events.
struct Player<'a> {
    events: Events,
    stage: Stage<'a>,
    load: Load,
    receivers: Receivers,
    tail: Option<EventTail>,
}

/// What came of a turn.
struct Turn {
    deliveries: u64,
    took: Duration,
    /// Until the last event was read.
    cpu: Cpu,
}

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Findings> {
    let mut players = Vec::new();
    for events in Events::ALL {
        players.push(Player::set_up(bench, events).await?);
    }
    let turns = bench.sizes.turns;
    // The first turn fills caches and opens connections.
    by_turns(&mut players, 1, async |player| player.singles(bench).await).await?;
    let singles = by_turns(&mut players, turns, async |player| player.singles(bench).await).await?;
    let broadcasts_of =
        by_turns(&mut players, broadcasts(turns), async |player| player.broadcast(bench).await).await?;
    for player in players {
        player.end().await?;
    }
    let latencies = tail(bench).await?;
    let line = |name: String, turns: &[Vec<Turn>], reading: usize, most: f64| {
        let Compared { plain, other, ratio } =
            compare(&turns[0], &turns[reading], Turn::postgres_per_million);
        let measured = format!("{other:.1} CPU s of Postgres per million (without events {plain:.1})");
        Line::new(name, measured)
            .ratio(ratio)
            .target(format!("at most {most} of those without"), ratio <= most)
    };
    let devices = grouped(bench.sizes.devices);
    let p99 = latencies.at(0.99);
    let readers = "… and two webhooks, two tar pits, a stream";
    let lines = vec![
        line("events: single notifications".to_owned(), &singles, 1, MOST_SINGLES),
        line(format!("events: broadcast to {devices}"), &broadcasts_of, 1, MOST_BROADCAST),
        line(format!("{readers}: singles"), &singles, 2, MOST_SINGLES),
        line("… and the broadcast".to_owned(), &broadcasts_of, 2, MOST_BROADCAST),
        Line::new(format!("event to a client of another node at {RATE}/s"), latencies.text())
            .target(format!("p99 under {}", millis(MOST_P99)), p99 < MOST_P99),
    ];
    let of_player = |place: usize| {
        let facts = |turns: &[Turn]| turns.iter().map(Turn::facts).collect::<Vec<_>>();
        json!({ "singles": facts(&singles[place]), "broadcasts": facts(&broadcasts_of[place]) })
    };
    let facts = json!({
        "without": of_player(0), "logged": of_player(1), "read": of_player(2), "latency": latencies.facts(),
    });
    Ok(Findings { lines, facts })
}

impl<'a> Player<'a> {
    async fn set_up(bench: &'a Bench, events: Events) -> anyhow::Result<Self> {
        let template = Template::of(apns::PLATFORM, bench.sizes.devices);
        let receivers = Receivers::start().await?;
        let (settings, tables) = match events {
            Events::Off => (OFF, String::new()),
            Events::Logged => (&[][..], String::new()),
            Events::Read => (&[][..], receivers.tables(&bench.folder, WEBHOOKS)?),
        };
        let stage = Stage::set_up_with(bench, template, Manner::COUNTS, settings, &tables).await?;
        let tail = match events == Events::Read {
            true => Some(EventTail::start(stage.service.address(), stage.service.key()).await?),
            false => None,
        };
        let load = Load::new(&stage, bench.sizes.turn_singles, "normal");
        Ok(Self { events, stage, load, receivers, tail })
    }

    async fn singles(&mut self, bench: &Bench) -> anyhow::Result<Turn> {
        let before = self.stage.meter().read()?;
        let played = play(bench, &self.stage, &self.load, self.events.name()).await?;
        self.end_turn(self.load.len() as u64, played.took, before).await
    }

    async fn broadcast(&mut self, bench: &Bench) -> anyhow::Result<Turn> {
        bench.progress.begin(&format!("a broadcast{}", self.events.name()));
        let before = self.stage.meter().read()?;
        let broadcast = Broadcast::run(&self.stage, bench.sizes.devices).await?;
        self.end_turn(broadcast.devices, broadcast.took, before).await
    }

    /// Waits until all events are in the log, and the good receivers and the stream have them.
    async fn end_turn(&mut self, deliveries: u64, took: Duration, before: Cpu) -> anyhow::Result<Turn> {
        if self.events == Events::Off {
            return Ok(Turn { deliveries, took, cpu: self.stage.meter().read()? - before });
        }
        let mut conn = self.stage.connect().await?;
        all_read(&mut conn).await?;
        let cpu = self.stage.meter().read()? - before;
        if let Some(tail) = &mut self.tail {
            let receipts: i64 =
                sqlx::query_scalar("select count(*) from receipts").fetch_one(&mut conn).await?;
            until(CATCH_UP, LOOK, "the stream", async || {
                Ok((tail.latencies()?.len() as u64 >= receipts.cast_unsigned()).then_some(()))
            })
            .await?;
        }
        conn.close().await?;
        Ok(Turn { deliveries, took, cpu })
    }

    async fn end(self) -> anyhow::Result<()> {
        ensure!(
            (self.events == Events::Read) == (self.receivers.messages() > 0),
            "the receivers got {} messages",
            self.receivers.messages()
        );
        drop(self.tail);
        self.stage.strike().await
    }
}

impl Turn {
    fn postgres_per_million(&self) -> f64 {
        per_million(self.cpu.postgres, self.deliveries)
    }

    fn facts(&self) -> Value {
        json!({
            "deliveries": self.deliveries,
            "rate": self.deliveries as f64 / self.took.as_secs_f64(),
            "postgres_cpu_s_per_million": self.postgres_per_million(),
            "dispatcher_cpu_s_per_million": per_million(self.cpu.dispatcher, self.deliveries),
        })
    }
}

/// Posts at a fixed rate to one node, and follows the events at another one.
async fn tail(bench: &Bench) -> anyhow::Result<Latencies> {
    let (devices, time) = (bench.sizes.devices, bench.sizes.steady);
    let stage = Stage::set_up(bench, Template::of(apns::PLATFORM, devices), Manner::COUNTS, &[]).await?;
    let other = stage.another_node(&[]).await?;
    bench.progress.begin(&format!("{RATE} notifications a second, and their events"));
    let load = Load::new(&stage, devices.min(100_000), "normal");
    let mut events = EventTail::start(other.address(), stage.service.key()).await?;
    let stop = CancellationToken::new();
    let posted = load.open(CONNECTIONS, RATE, time, &stop);
    let Paced { posted, .. } = within(SHORT + time, "notifications at a fixed rate", posted).await?;
    let latencies = until(SHORT, LOOK, "the last events", async || {
        let latencies = events.latencies()?;
        Ok((latencies.len() >= posted.len()).then_some(latencies))
    })
    .await?;
    drop(events);
    other.end().await?;
    stage.strike().await?;
    Ok(latencies.into_iter().collect())
}

/// CPU seconds for a million.
fn per_million(cpu: Duration, number: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / number as f64
}
