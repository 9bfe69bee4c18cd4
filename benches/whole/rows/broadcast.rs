//! A notification to all devices: from its POST to the last outcome on record.

use std::time::Duration;

use anyhow::ensure;
use pushpost::domain::Platform;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::bare::{Bare, Speed};
use crate::notification;
use crate::report::{Findings, Line, grouped, megabytes, per_second};
use crate::simulator::Manner;
use crate::stage::{Bench, Stage};
use crate::template::Template;
use crate::usage::Cpu;
use crate::wait::{SHORT, until, while_growing};

/// How often the simulator is asked; the service is asked only when that has received all, since its sums cost.
const LOOK: Duration = Duration::from_millis(100);
const ASK: Duration = Duration::from_millis(20);
/// Nothing arrives for so long: it won't.
const PATIENCE: Duration = Duration::from_secs(60);
const LEAST_RATIO: f64 = 0.65;
const MOST_CPU: f64 = 24.0;
/// The target of the service's memory, in bytes.
pub(super) const MOST_MEMORY: u64 = 150 << 20;

/// What one broadcast took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Broadcast {
    pub(super) devices: u64,
    pub(super) took: Duration,
    pub(super) cpu: Cpu,
    pub(super) peak_memory: u64,
}

impl Broadcast {
    /// Sends to all registered devices, `devices` in number, and waits until every outcome is on record.
    pub(super) async fn run(stage: &Stage<'_>, devices: u64) -> anyhow::Result<Self> {
        Self::run_to(stage, json!({ "all": true }), devices).await
    }

    /// The same to an audience of so many devices.
    pub(super) async fn run_to(stage: &Stage<'_>, to: Value, devices: u64) -> anyhow::Result<Self> {
        stage.simulator.forget().await?;
        let (meter, before, begun) = (stage.meter(), stage.meter().read()?, Instant::now());
        let id = stage.service.post(&notification::to(to)).await?;
        while_growing(PATIENCE, LOOK, "a broadcast", devices, async || {
            Ok(stage.simulator.counts().await?.accepted)
        })
        .await?;
        let counts = until(SHORT, ASK, "its last outcomes", async || stage.service.done(&id).await).await?;
        let (took, cpu) = (begun.elapsed(), meter.read()? - before);
        ensure!(counts["accepted"] == devices, "of {devices} devices came {counts}");
        Ok(Self { devices, took, cpu, peak_memory: stage.peak_memory()? })
    }

    /// A service's first one opens its connections and fills its caches. It isn't counted, as the bare client's beginning isn't.
    pub(super) async fn warm_up(bench: &Bench, stage: &Stage<'_>, devices: u64) -> anyhow::Result<()> {
        bench
            .progress
            .begin(&format!("a first broadcast to {} devices, which doesn't count", grouped(devices)));
        Self::run(stage, devices).await.map(drop)
    }

    /// Deliveries a second.
    pub(super) fn rate(&self) -> f64 {
        self.devices as f64 / self.took.as_secs_f64()
    }

    /// CPU seconds for a million deliveries.
    pub(super) fn per_million(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1e6 / self.devices as f64
    }

    pub(super) fn facts(&self) -> Value {
        json!({
            "devices": self.devices,
            "seconds": self.took.as_secs_f64(),
            "rate": self.rate(),
            "dispatcher_cpu_s_per_million": self.per_million(self.cpu.dispatcher),
            "postgres_cpu_s_per_million": self.per_million(self.cpu.postgres),
            "simulator_cpu_s_per_million": self.per_million(self.cpu.simulator),
            "harness_cpu_s_per_million": self.per_million(self.cpu.harness),
            "peak_memory_bytes": self.peak_memory,
        })
    }
}

/// Bare and whole in turn, since the machine changes its mind: the bare client goes first and last.
pub(super) async fn measure(bench: &Bench, platform: Platform) -> anyhow::Result<Findings> {
    let devices = bench.sizes.devices;
    let stage = Stage::set_up(bench, Template::of(platform, devices), Manner::COUNTS, &[]).await?;
    let bare = Bare::new(platform, &stage.simulator).await?;
    Broadcast::warm_up(bench, &stage, devices).await?;
    let mut speeds = vec![bare_speed(bench, &bare, &stage).await?];
    let mut broadcasts = Vec::new();
    for round in 1..=bench.sizes.rounds {
        bench.progress.begin(&format!("{platform}: broadcast {round} to {} devices", grouped(devices)));
        let broadcast = Broadcast::run(&stage, devices).await?;
        bench.progress.tell(&format!("{platform}: broadcast {round}: {}", per_second(broadcast.rate())));
        broadcasts.push(broadcast);
        speeds.push(bare_speed(bench, &bare, &stage).await?);
    }
    stage.strike().await?;
    let facts = json!({
        "bare": speeds.iter().map(Speed::facts).collect::<Vec<_>>(),
        "broadcasts": broadcasts.iter().map(Broadcast::facts).collect::<Vec<_>>(),
    });
    Ok(Findings { lines: lines(platform, devices, &speeds, &broadcasts), facts })
}

pub(super) async fn bare_speed(bench: &Bench, bare: &Bare, stage: &Stage<'_>) -> anyhow::Result<Speed> {
    bench.progress.begin("the bare client");
    let speed = bare.rush(bench.sizes.bare, &stage.meter()).await?;
    bench.progress.tell(&format!("bare: {}", per_second(speed.rate)));
    Ok(speed)
}

fn lines(platform: Platform, devices: u64, speeds: &[Speed], broadcasts: &[Broadcast]) -> Vec<Line> {
    let row = |what: &str| format!("broadcast to {}, {platform}{what}", grouped(devices));
    let bare = mean(speeds.iter().map(|speed| speed.rate));
    let rate = mean(broadcasts.iter().map(Broadcast::rate));
    let each = |cpu: fn(&Cpu) -> Duration| {
        mean(broadcasts.iter().map(|broadcast| broadcast.per_million(cpu(&broadcast.cpu))))
    };
    let (dispatcher, postgres) = (each(|cpu| cpu.dispatcher), each(|cpu| cpu.postgres));
    let cpu = format!(
        "{dispatcher:.1} dispatcher + {postgres:.1} Postgres (simulator {:.1})",
        each(|cpu| cpu.simulator)
    );
    let memory = broadcasts.iter().map(|broadcast| broadcast.peak_memory).max().unwrap_or_default();
    vec![
        Line::new(row(""), format!("{} (bare {})", per_second(rate), per_second(bare)))
            .ratio(rate / bare)
            .target(format!("at least {LEAST_RATIO} of bare"), rate / bare >= LEAST_RATIO),
        Line::new(row(": CPU s per million"), cpu)
            .target(format!("at most {MOST_CPU}, both"), dispatcher + postgres <= MOST_CPU),
        Line::new(row(": memory"), megabytes(memory))
            .target(format!("under {}", megabytes(MOST_MEMORY)), memory < MOST_MEMORY),
    ]
}

/// The arithmetic mean.
pub(super) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    values.iter().sum::<f64>() / values.len() as f64
}
