//! From a POST to the arrival at the provider, at a rate that leaves the machine idle most of the time.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::bare::STEADY;
use crate::bare::Bare;
use crate::latency::{Latencies, millis};
use crate::load::{Load, Paced, Posted};
use crate::report::{Findings, Line};
use crate::simulator::Manner;
use crate::stage::{Bench, Stage};
use crate::template::Template;
use crate::wait::{SHORT, until, within};
use pushpost::provider::apns;

pub(super) const CONNECTIONS: u32 = 64;
pub(super) const RATE: u32 = 1000;
const MOST_P50: Duration = Duration::from_millis(5);
const MOST_P99: Duration = Duration::from_millis(25);
const LOOK: Duration = Duration::from_millis(100);

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Findings> {
    let (devices, time) = (bench.sizes.devices, bench.sizes.steady);
    let template = Template::of(apns::PLATFORM, devices);
    let stage = Stage::set_up(bench, template, Manner::ARRIVALS, &[]).await?;
    let bare = Bare::new(apns::PLATFORM, &stage.simulator).await?;
    let load = Load::new(&stage, devices.min(100_000), "normal");
    let before = of_bare(&bare, &stage, time).await?;

    bench.progress.begin(&format!("{RATE} notifications a second"));
    stage.simulator.forget().await?;
    // The first connections to the providers are opened before anything is measured.
    let (stop, warm_up) = (CancellationToken::new(), time / 4);
    let posted = load.open(CONNECTIONS, RATE, warm_up + time, &stop);
    let Paced { posted, refused } =
        within(SHORT + warm_up + time, "notifications at a fixed rate", posted).await?;
    let first = posted.iter().map(|posted| posted.sent_us).min().unwrap_or_default();
    let counted = first + i64::try_from(warm_up.as_micros())?;
    let posted: Vec<Posted> = posted.into_iter().filter(|posted| posted.sent_us >= counted).collect();
    let arrived = arrivals(&stage, &posted).await?;

    let after = of_bare(&bare, &stage, time).await?;
    stage.strike().await?;
    let answered: Latencies = posted.iter().map(|posted| posted.answered).collect();
    let bare: Latencies = before.iter().chain(&after).copied().collect();
    let facts = json!({
        "post_to_arrival": arrived.facts(),
        "post_to_202": answered.facts(),
        "bare_send_to_arrival": bare.facts(),
        "refused": refused,
    });
    Ok(Findings { lines: lines(&arrived, &answered, &bare, refused), facts })
}

/// On a machine with neighbours the bare client's own latency comes on top of what is allowed.
fn lines(arrived: &Latencies, answered: &Latencies, bare: &Latencies, refused: usize) -> Vec<Line> {
    let line = |name: &str, share: f64, most: Duration| {
        let (ours, theirs) = (arrived.at(share), bare.at(share));
        Line::new(
            format!("POST to arrival at {RATE}/s, {name}"),
            format!("{} (bare {}; 202 after {})", millis(ours), millis(theirs), millis(answered.at(share))),
        )
        .target(
            format!("under {} above bare", millis(most)),
            refused == 0 && ours.saturating_sub(theirs) < most,
        )
    };
    vec![line("p50", 0.5, MOST_P50), line("p99", 0.99, MOST_P99)]
}

/// From the hand-over to the connection to the arrival.
async fn of_bare(bare: &Bare, stage: &Stage<'_>, time: Duration) -> anyhow::Result<Vec<Duration>> {
    stage.simulator.forget().await?;
    let samples = bare.steady(STEADY, time).await?;
    let arrived = stage.simulator.arrivals().await?;
    let since = |id: &String, sent_us: i64| Some(micros(arrived.get(id)? - sent_us));
    Ok(samples.iter().filter_map(|sample| since(&sample.id, sample.sent_us)).collect())
}

/// Waits until all have arrived.
pub(super) async fn arrivals(stage: &Stage<'_>, posted: &[Posted]) -> anyhow::Result<Latencies> {
    ensure!(!posted.is_empty(), "nothing was posted in the time");
    let arrived: HashMap<String, i64> = until(SHORT, LOOK, "the last arrivals", async || {
        let arrived = stage.simulator.arrivals().await?;
        Ok(posted.iter().all(|posted| arrived.contains_key(&posted.id)).then_some(arrived))
    })
    .await?;
    Ok(posted.iter().map(|posted| micros(arrived[&posted.id] - posted.sent_us)).collect())
}

/// Two readings of one clock; it may have been set back in between.
fn micros(difference: i64) -> Duration {
    Duration::from_micros(u64::try_from(difference).unwrap_or_default())
}
