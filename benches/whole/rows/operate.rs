//! What observing costs: singles and a broadcast with metrics scraped each second and one trace in a hundred exported,
//! beside the same without either, and beside the same with a collector that is gone. And what metrics cost by count:
//! how often each notification touches one, and what a touch takes.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use super::broadcast::Broadcast;
use super::median;
use super::singles::{Played, play};
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

/// How a run is observed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Observed {
    Not,
    Fully,
    /// The collector of spans refuses connections.
    WithoutCollector,
}

/// What one run took, and what observed it.
struct Run {
    singles: Played,
    broadcast: Broadcast,
    scrapes: u64,
    span_bytes: u64,
    touches: Touches,
}

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Findings> {
    let (mut without, mut with, mut dead) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..bench.sizes.pairs {
        let mut order = [Observed::Not, Observed::Fully, Observed::WithoutCollector];
        // The last goes first in the next round: the machine may become slower meanwhile.
        if pair % 2 == 1 {
            order.reverse();
        }
        for observed in order {
            let run = play_one(bench, observed).await?;
            match observed {
                Observed::Not => without.push(run),
                Observed::Fully => with.push(run),
                Observed::WithoutCollector => dead.push(run),
            }
        }
    }
    let singles = |run: &Run| per_million(&run.singles.cpu, bench.sizes.singles);
    let broadcast = |run: &Run| per_million(&run.broadcast.cpu, run.broadcast.devices);
    let compared = |name: String, of: &dyn Fn(&Run) -> f64, most: f64| {
        let (plain, observed) = (median(without.iter().map(of)), median(with.iter().map(of)));
        let measured =
            format!("{observed:.1} CPU s per million (without {plain:.1}; dispatcher and Postgres)");
        let ratio = observed / plain;
        Line::new(name, measured)
            .ratio(ratio)
            .target(format!("at most {most} of those without"), ratio <= most)
    };
    let devices = grouped(bench.sizes.devices);
    let lines = vec![
        compared("observed: single notifications".to_owned(), &singles, MOST_SINGLES),
        compared(format!("observed: broadcast to {devices}"), &broadcast, MOST_BROADCAST),
        without_collector(&with, &dead, bench.sizes.singles),
        by_count(&with, bench.sizes.singles),
    ];
    let facts = |runs: &[Run]| runs.iter().map(|run| run.facts(bench.sizes.singles)).collect::<Vec<_>>();
    let facts =
        json!({ "without": facts(&without), "with": facts(&with), "without_collector": facts(&dead) });
    Ok(Findings { lines, facts })
}

fn without_collector(with: &[Run], dead: &[Run], number: u64) -> Line {
    let rate = |runs: &[Run]| median(runs.iter().map(|run| run.rate(number)));
    let (alive, dead) = (rate(with), rate(dead));
    let measured = format!("{} (with a collector {})", per_second(dead), per_second(alive));
    Line::new("observed: single notifications, collector gone", measured)
        .ratio(dead / alive)
        .target(format!("at least {LEAST_DEAD_RATE} of those with one"), dead / alive >= LEAST_DEAD_RATE)
}

/// The share of the dispatcher's CPU that counting takes. An addition of more than one counts as so many touches, so the
/// share is an upper bound.
fn by_count(runs: &[Run], number: u64) -> Line {
    let nanoseconds = touch();
    let per_single = median(runs.iter().map(|run| run.touches.number / number as f64));
    let cpu = median(runs.iter().map(|run| run.singles.cpu.dispatcher.as_secs_f64() / number as f64));
    let share = per_single * nanoseconds * 1e-9 / cpu;
    let measured = format!(
        "{:.2} % of the dispatcher's CPU: at most {per_single:.0} touches of {nanoseconds:.0} ns per notification",
        share * 100.0
    );
    Line::new("metrics by count: single notifications", measured)
        .ratio(share)
        .target(format!("at most {MOST_BY_COUNT}"), share <= MOST_BY_COUNT)
}

/// Singles, then a broadcast, on a database and a service of their own.
async fn play_one(bench: &Bench, observed: Observed) -> anyhow::Result<Run> {
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
    let service = stage.service.address();
    let scraper = if observed == Observed::Not { None } else { Some(Scraper::start(service)?) };
    let manner = match observed {
        Observed::Not => "",
        Observed::Fully => ", observed",
        Observed::WithoutCollector => ", observed, collector gone",
    };
    let load = Load::new(&stage, bench.sizes.singles, "normal");
    let before = Touches::read(service).await?;
    let singles = play(bench, &stage, &load, manner).await?;
    let touches = Touches::read(service).await? - before;
    bench.progress.begin(&format!("a broadcast{manner}"));
    let broadcast = Broadcast::run(&stage, bench.sizes.devices).await?;
    let scrapes = match scraper {
        Some(scraper) => scraper.end().await?,
        None => 0,
    };
    stage.strike().await?;
    let span_bytes = collector.map_or(0, |collector| collector.bytes());
    ensure!(
        (observed != Observed::Not) == (scrapes > 0) && (observed == Observed::Fully) == (span_bytes > 0),
        "{scrapes} scrapes, {span_bytes} bytes of spans"
    );
    Ok(Run { singles, broadcast, scrapes, span_bytes, touches })
}

impl Run {
    /// Single notifications a second.
    fn rate(&self, singles: u64) -> f64 {
        singles as f64 / self.singles.took.as_secs_f64()
    }

    fn facts(&self, singles: u64) -> Value {
        json!({
            "singles_cpu_s_per_million": per_million(&self.singles.cpu, singles),
            "singles_rate": self.rate(singles),
            "touches_per_single": self.touches.number / singles as f64,
            "spans_dropped": self.touches.spans_dropped,
            "broadcast": self.broadcast.facts(),
            "scrapes": self.scrapes,
            "span_bytes": self.span_bytes,
        })
    }
}

/// CPU seconds of dispatcher and Postgres for a million.
fn per_million(cpu: &Cpu, number: u64) -> f64 {
    let used: Duration = cpu.dispatcher + cpu.postgres;
    used.as_secs_f64() * 1e6 / number as f64
}
