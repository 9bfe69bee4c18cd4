//! What the event log costs: singles and a broadcast with it, and with two webhooks, two tar pits and a client of a stream too, beside
//! the same where the configuration keeps no events. And how late an event reaches a client of another node, at a rate that leaves
//! the machine idle most of the time.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use super::arrival::{CONNECTIONS, RATE};
use super::broadcast::Broadcast;
use super::median;
use super::singles::{Played, play};
use crate::latency::{Latencies, millis};
use crate::load::{Load, Paced};
use crate::observers::EventTail;
use crate::receivers::{Mix, Receivers};
use crate::report::{Findings, Line, grouped};
use crate::simulator::Manner;
use crate::stage::{Bench, Stage};
use crate::template::Template;
use crate::wait::{SHORT, until, within};
use pushpost::provider::apns;
use tokio_util::sync::CancellationToken;

const OFF: &[(&str, &str)] = &[("PUSHPOST__RETENTION__EVENTS", "0s")];
/// Of Postgres's CPU without events.
const MOST_SINGLES: f64 = 1.10;
const MOST_BROADCAST: f64 = 1.03;
/// From the transaction of a receipt to a client of another node.
const MOST_P99: Duration = Duration::from_secs(1);
const WEBHOOKS: Mix = Mix { good: 2, tar_pits: 2, refusing: 0 };
const LOOK: Duration = Duration::from_millis(100);

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

/// One run of singles and a broadcast.
struct Run {
    singles: Played,
    broadcast: Broadcast,
}

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Findings> {
    let mut runs: [Vec<Run>; 3] = Default::default();
    for pair in 0..bench.sizes.pairs {
        // Each run is first in turn: the machine may become slower meanwhile.
        for place in 0..Events::ALL.len() {
            let place = (place + usize::try_from(pair)?) % Events::ALL.len();
            runs[place].push(play_one(bench, Events::ALL[place]).await?);
        }
    }
    let latencies = tail(bench).await?;
    let [without, logged, read] = &runs;
    let singles = |run: &Run| per_million(run.singles.cpu.postgres, bench.sizes.singles);
    let broadcast = |run: &Run| per_million(run.broadcast.cpu.postgres, run.broadcast.devices);
    let compared = |name: String, with: &[Run], of: &dyn Fn(&Run) -> f64, most: f64| {
        let (plain, with) = (median(without.iter().map(of)), median(with.iter().map(of)));
        let measured = format!("{with:.1} CPU s of Postgres per million (without events {plain:.1})");
        let ratio = with / plain;
        Line::new(name, measured)
            .ratio(ratio)
            .target(format!("at most {most} of those without"), ratio <= most)
    };
    let devices = grouped(bench.sizes.devices);
    let p99 = latencies.at(0.99);
    let lines = vec![
        compared("events: single notifications".to_owned(), logged, &singles, MOST_SINGLES),
        compared(format!("events: broadcast to {devices}"), logged, &broadcast, MOST_BROADCAST),
        compared(
            "… and two webhooks, two tar pits, a stream: singles".to_owned(),
            read,
            &singles,
            MOST_SINGLES,
        ),
        compared("… and the broadcast".to_owned(), read, &broadcast, MOST_BROADCAST),
        Line::new(format!("event to a client of another node at {RATE}/s"), latencies.text())
            .target(format!("p99 under {}", millis(MOST_P99)), p99 < MOST_P99),
    ];
    let facts = |runs: &[Run]| runs.iter().map(|run| run.facts(bench.sizes.singles)).collect::<Vec<_>>();
    let facts = json!({ "without": facts(without), "logged": facts(logged), "read": facts(read), "latency": latencies.facts() });
    Ok(Findings { lines, facts })
}

/// Singles, then a broadcast, on a database and a service of their own.
async fn play_one(bench: &Bench, events: Events) -> anyhow::Result<Run> {
    let template = Template::of(apns::PLATFORM, bench.sizes.devices);
    let receivers = Receivers::start().await?;
    let folder = bench.folder.join("simulator");
    std::fs::create_dir_all(&folder)?;
    let (settings, tables) = match events {
        Events::Off => (OFF, String::new()),
        Events::Logged => (&[][..], String::new()),
        Events::Read => (&[][..], receivers.tables(&folder, WEBHOOKS)?),
    };
    let stage = Stage::set_up_with(bench, template, Manner::COUNTS, settings, &tables).await?;
    let mut tail = match events == Events::Read {
        true => Some(EventTail::start(stage.service.address(), stage.service.key()).await?),
        false => None,
    };
    let manner = events.name();
    let load = Load::new(&stage, bench.sizes.singles, "normal");
    let singles = play(bench, &stage, &load, manner).await?;
    bench.progress.begin(&format!("a broadcast{manner}"));
    let broadcast = Broadcast::run(&stage, bench.sizes.devices).await?;
    let tailed = tail.as_mut().map(EventTail::latencies).transpose()?;
    ensure!(
        events != Events::Read
            || (receivers.messages() > 0 && tailed.is_some_and(|tailed| !tailed.is_empty())),
        "the webhooks or the stream got nothing"
    );
    drop(tail);
    stage.strike().await?;
    Ok(Run { singles, broadcast })
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

impl Run {
    fn facts(&self, singles: u64) -> Value {
        json!({
            "singles_postgres_cpu_s_per_million": per_million(self.singles.cpu.postgres, singles),
            "singles_dispatcher_cpu_s_per_million": per_million(self.singles.cpu.dispatcher, singles),
            "singles_rate": singles as f64 / self.singles.took.as_secs_f64(),
            "broadcast": self.broadcast.facts(),
        })
    }
}

/// CPU seconds for a million.
fn per_million(cpu: Duration, number: u64) -> f64 {
    cpu.as_secs_f64() * 1e6 / number as f64
}
