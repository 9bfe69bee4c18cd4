//! What observing costs: singles and a broadcast with metrics scraped each second and one trace in a hundred exported,
//! beside the same without either.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use super::broadcast::Broadcast;
use super::singles::{Played, play};
use crate::load::Load;
use crate::observers::{Collector, Scraper};
use crate::report::{Findings, Line, grouped};
use crate::simulator::Manner;
use crate::stage::{Bench, Stage};
use crate::template::Template;
use crate::usage::Cpu;
use pushpost::provider::apns;

const MOST_BROADCAST: f64 = 1.03;
const MOST_SINGLES: f64 = 1.08;
const SAMPLED: &str = "0.01";

/// One run, observed or not.
struct Run {
    singles: Played,
    broadcast: Broadcast,
    scrapes: u64,
    span_bytes: u64,
}

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Findings> {
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for pair in 0..bench.sizes.pairs {
        // The second of a pair goes first in the next one: the machine may become slower meanwhile.
        for is_observed in [pair % 2 == 1, pair % 2 == 0] {
            let run = play_one(bench, is_observed).await?;
            if is_observed { with.push(run) } else { without.push(run) }
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
    ];
    let facts = |runs: &[Run]| runs.iter().map(|run| run.facts(bench.sizes.singles)).collect::<Vec<_>>();
    Ok(Findings { lines, facts: json!({ "without": facts(&without), "with": facts(&with) }) })
}

/// Singles, then a broadcast, on a database and a service of their own.
async fn play_one(bench: &Bench, is_observed: bool) -> anyhow::Result<Run> {
    let collector = Collector::start().await?;
    let endpoint = collector.endpoint();
    let traced = [
        ("PUSHPOST__TELEMETRY__OTLP_ENDPOINT", endpoint.as_str()),
        ("PUSHPOST__TELEMETRY__SAMPLE_RATIO", SAMPLED),
    ];
    let settings = if is_observed { &traced[..] } else { &[] };
    let template = Template::of(apns::PLATFORM, bench.sizes.devices);
    let stage = Stage::set_up(bench, template, Manner::COUNTS, settings).await?;
    let scraper = if is_observed { Some(Scraper::start(stage.service.address())?) } else { None };
    let manner = if is_observed { ", observed" } else { "" };
    let load = Load::new(&stage, bench.sizes.singles, "normal");
    let singles = play(bench, &stage, &load, manner).await?;
    bench.progress.begin(&format!("a broadcast{manner}"));
    let broadcast = Broadcast::run(&stage, bench.sizes.devices).await?;
    let scrapes = match scraper {
        Some(scraper) => scraper.end().await?,
        None => 0,
    };
    stage.strike().await?;
    let span_bytes = collector.bytes();
    ensure!(
        !is_observed || (scrapes > 0 && span_bytes > 0),
        "{scrapes} scrapes, {span_bytes} bytes of spans"
    );
    Ok(Run { singles, broadcast, scrapes, span_bytes })
}

impl Run {
    fn facts(&self, singles: u64) -> Value {
        json!({
            "singles_cpu_s_per_million": per_million(&self.singles.cpu, singles),
            "singles_rate": singles as f64 / self.singles.took.as_secs_f64(),
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

/// The value in the middle.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}
