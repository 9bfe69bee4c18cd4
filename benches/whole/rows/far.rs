//! Providers that are far away: streams, not round trips, must be the limit.

use std::time::Duration;

use serde_json::json;

use super::broadcast::{Broadcast, bare_speed, mean};
use crate::bare::Bare;
use crate::report::{Findings, Line, per_second};
use crate::simulator::Manner;
use crate::stage::{Bench, Stage};
use crate::template::Template;
use pushpost::provider::apns;

const AWAY: Duration = Duration::from_millis(80);
/// Four connections of a thousand streams, which is what APNs allows.
const STREAMS: usize = 4000;
const SETTING: (&str, &str) = ("PUSHPOST__DELIVERY__MAX_IN_FLIGHT", "4000");
const LEAST_RATIO: f64 = 0.9;

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Findings> {
    let devices = bench.sizes.devices;
    let template = Template::of(apns::PLATFORM, devices);
    let near = Stage::set_up(bench, template, Manner::COUNTS, &[SETTING]).await?;
    Broadcast::warm_up(bench, &near, devices).await?;
    bench.progress.begin("broadcast to a provider beside us");
    let beside = Broadcast::run(&near, devices).await?;
    near.strike().await?;

    let manner = Manner { latency: AWAY, ..Manner::COUNTS };
    let stage = Stage::set_up(bench, template, manner, &[SETTING]).await?;
    let bare = Bare::new(apns::PLATFORM, &stage.simulator).await?.with_in_flight(STREAMS);
    Broadcast::warm_up(bench, &stage, devices).await?;
    let before = bare_speed(bench, &bare, &stage).await?;
    bench.progress.begin("broadcast to a provider far away");
    let far = Broadcast::run(&stage, devices).await?;
    let after = bare_speed(bench, &bare, &stage).await?;
    stage.strike().await?;

    let bare = mean([before, after].iter().map(|speed| speed.rate));
    // The bare client has as many streams and time to spare: what it makes is what they allow at the round trip that there
    // is, with what the simulator adds to its latency.
    let by_latency = STREAMS as f64 / AWAY.as_secs_f64();
    let by_streams = bare.min(by_latency);
    let bound = by_streams.min(beside.rate());
    let measured = format!(
        "{} ({} beside us; bare, as streams allow, {}; at exactly {} ms {})",
        per_second(far.rate()),
        per_second(beside.rate()),
        per_second(bare),
        AWAY.as_millis(),
        per_second(by_latency)
    );
    let row = format!("providers {} ms away, {STREAMS} streams", AWAY.as_millis());
    let line = Line::new(row, measured)
        .ratio(far.rate() / bound)
        .target(format!("at least {LEAST_RATIO} of streams or CPU"), far.rate() / bound >= LEAST_RATIO);
    let facts = json!({
        "beside": beside.facts(),
        "far": far.facts(),
        "bare": [before.facts(), after.facts()],
        "streams_allow": by_streams,
    });
    Ok(Findings { lines: vec![line], facts })
}
