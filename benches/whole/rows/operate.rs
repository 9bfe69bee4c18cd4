//! What observing costs: singles and a broadcast with metrics scraped each second and one trace in a hundred exported,
//! beside the same without either, and beside the same with a collector that is gone. And what metrics cost by count:
//! how often each notification touches one, and what a touch takes.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use super::broadcast::Broadcast;
use super::median;
use super::singles::{Played, play};
use super::turns::{Compared, broadcasts, by_turns, compare};
use crate::load::Load;
use crate::observers::{Collector, Scraper};
use crate::report::{Findings, Line, grouped, per_second};
use crate::simulator::Manner;
use crate::stage::{Bench, Stage};
use crate::template::Template;
use crate::touches::{Touches, touch};
use crate::usage::Cpu;
use pushpost::provider::apns;

const MOST_BROADCAST: f64 = 1.03;
const MOST_SINGLES: f64 = 1.08;
const SAMPLED: &str = "0.01";
/// The rate with a collector that is gone beside the rate with one that answers.
const LEAST_DEAD_RATE: f64 = 0.99;
/// Of the dispatcher's CPU.
const MOST_BY_COUNT: f64 = 0.01;

/// How a service is observed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Observed {
    Not,
    Fully,
    /// The collector of spans refuses connections.
    WithoutCollector,
}

impl Observed {
    const ALL: [Self; 3] = [Self::Not, Self::Fully, Self::WithoutCollector];

    fn manner(self) -> &'static str {
        match self {
            Self::Not => "",
            Self::Fully => ", observed",
            Self::WithoutCollector => ", observed, collector gone",
        }
    }
}

/// A service, and what observes it.
struct Player<'a> {
    observed: Observed,
    stage: Stage<'a>,
    load: Load,
    scraper: Option<Scraper>,
    collector: Option<Collector>,
}

/// Notifications to one device each.
struct Singles {
    played: Played,
    touches: Touches,
}

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Findings> {
    let mut players = Vec::new();
    for observed in Observed::ALL {
        players.push(Player::set_up(bench, observed).await?);
    }
    let turns = bench.sizes.turns;
    // The first turn fills caches and opens connections.
    by_turns(&mut players, 1, async |player| player.singles(bench).await).await?;
    let singles = by_turns(&mut players, turns, async |player| player.singles(bench).await).await?;
    let broadcasts =
        by_turns(&mut players, broadcasts(turns), async |player| player.broadcast(bench).await).await?;
    let mut observers = Vec::new();
    for player in players {
        observers.push(player.end().await?);
    }
    let number = bench.sizes.turn_singles;
    let lines = vec![
        costs(
            "observed: single notifications".to_owned(),
            compare(&singles[0], &singles[1], |run| per_million(&run.played.cpu, number)),
            MOST_SINGLES,
        ),
        costs(
            format!("observed: broadcast to {}", grouped(bench.sizes.devices)),
            compare(&broadcasts[0], &broadcasts[1], |run| per_million(&run.cpu, run.devices)),
            MOST_BROADCAST,
        ),
        without_collector(&singles[1], &singles[2], number),
        by_count(&singles[1], number),
    ];
    let of_player = |place: usize| {
        json!({
            "singles": singles[place].iter().map(|run| run.facts(number)).collect::<Vec<_>>(),
            "broadcasts": broadcasts[place].iter().map(Broadcast::facts).collect::<Vec<_>>(),
            "observers": observers[place],
        })
    };
    let facts = json!({ "without": of_player(0), "with": of_player(1), "without_collector": of_player(2) });
    Ok(Findings { lines, facts })
}

fn costs(name: String, Compared { plain, other, ratio }: Compared, most: f64) -> Line {
    let measured = format!("{other:.1} CPU s per million (without {plain:.1}; dispatcher and Postgres)");
    Line::new(name, measured).ratio(ratio).target(format!("at most {most} of those without"), ratio <= most)
}

fn without_collector(with: &[Singles], dead: &[Singles], number: u64) -> Line {
    let Compared { plain, other, ratio } = compare(with, dead, |run| run.rate(number));
    let measured = format!("{} (with a collector {})", per_second(other), per_second(plain));
    Line::new("observed: single notifications, collector gone", measured)
        .ratio(ratio)
        .target(format!("at least {LEAST_DEAD_RATE} of those with one"), ratio >= LEAST_DEAD_RATE)
}

/// The share of the dispatcher's CPU that counting takes. An addition of more than one counts as so many touches, so the
/// share is an upper bound.
fn by_count(runs: &[Singles], number: u64) -> Line {
    let nanoseconds = touch();
    let per_single = median(runs.iter().map(|run| run.touches.number / number as f64));
    let cpu = median(runs.iter().map(|run| run.played.cpu.dispatcher.as_secs_f64() / number as f64));
    let share = per_single * nanoseconds * 1e-9 / cpu;
    let measured = format!(
        "{:.2} % of the dispatcher's CPU: at most {per_single:.0} touches of {nanoseconds:.0} ns per notification",
        share * 100.0
    );
    Line::new("metrics by count: single notifications", measured)
        .ratio(share)
        .target(format!("at most {MOST_BY_COUNT}"), share <= MOST_BY_COUNT)
}

impl<'a> Player<'a> {
    async fn set_up(bench: &'a Bench, observed: Observed) -> anyhow::Result<Self> {
        let collector = Collector::start().await?;
        let endpoint = collector.endpoint();
        let collector = (observed != Observed::WithoutCollector).then_some(collector);
        let traced = [
            ("PUSHPOST__TELEMETRY__OTLP_ENDPOINT", endpoint.as_str()),
            ("PUSHPOST__TELEMETRY__SAMPLE_RATIO", SAMPLED),
        ];
        let settings = if observed == Observed::Not { &[] } else { &traced[..] };
        let template = Template::of(apns::PLATFORM, bench.sizes.devices);
        let stage = Stage::set_up(bench, template, Manner::COUNTS, settings).await?;
        let scraper = match observed {
            Observed::Not => None,
            Observed::Fully | Observed::WithoutCollector => Some(Scraper::start(stage.service.address())?),
        };
        let load = Load::new(&stage, bench.sizes.turn_singles, "normal");
        Ok(Self { observed, stage, load, scraper, collector })
    }

    async fn singles(&self, bench: &Bench) -> anyhow::Result<Singles> {
        let service = self.stage.service.address();
        let before = Touches::read(service).await?;
        let played = play(bench, &self.stage, &self.load, self.observed.manner()).await?;
        Ok(Singles { played, touches: Touches::read(service).await? - before })
    }

    async fn broadcast(&self, bench: &Bench) -> anyhow::Result<Broadcast> {
        bench.progress.begin(&format!("a broadcast{}", self.observed.manner()));
        Broadcast::run(&self.stage, bench.sizes.devices).await
    }

    /// Ends it. Returns what observed it.
    async fn end(self) -> anyhow::Result<Value> {
        let scrapes = match self.scraper {
            Some(scraper) => scraper.end().await?,
            None => 0,
        };
        self.stage.strike().await?;
        let span_bytes = self.collector.map_or(0, |collector| collector.bytes());
        ensure!(
            (self.observed != Observed::Not) == (scrapes > 0)
                && (self.observed == Observed::Fully) == (span_bytes > 0),
            "{scrapes} scrapes, {span_bytes} bytes of spans"
        );
        Ok(json!({ "scrapes": scrapes, "span_bytes": span_bytes }))
    }
}

impl Singles {
    /// Single notifications a second.
    fn rate(&self, number: u64) -> f64 {
        number as f64 / self.played.took.as_secs_f64()
    }

    fn facts(&self, number: u64) -> Value {
        json!({
            "cpu_s_per_million": per_million(&self.played.cpu, number),
            "rate": self.rate(number),
            "touches_per_single": self.touches.number / number as f64,
            "spans_dropped": self.touches.spans_dropped,
        })
    }
}

/// CPU seconds of dispatcher and Postgres for a million.
fn per_million(cpu: &Cpu, number: u64) -> f64 {
    let used: Duration = cpu.dispatcher + cpu.postgres;
    used.as_secs_f64() * 1e6 / number as f64
}
