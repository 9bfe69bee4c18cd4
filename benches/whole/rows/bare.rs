//! The bare client alone: what all else is compared with.

use pushpost::provider::{apns, fcm};
use serde_json::{Map, Value, json};

use crate::bare::Bare;
use crate::latency::Latencies;
use crate::report::{Findings, Line, per_second};
use crate::simulator::Manner;
use crate::stage::{Bench, Stage};
use crate::template::Template;

/// Requests a second, where latencies are measured.
pub(super) const STEADY: u64 = 1000;

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Findings> {
    let template = Template::of(apns::PLATFORM, bench.sizes.devices);
    let stage = Stage::set_up(bench, template, Manner::COUNTS, &[]).await?;
    let (mut lines, mut facts) = (Vec::new(), Map::new());
    for platform in [apns::PLATFORM, fcm::PLATFORM] {
        bench.progress.begin(&format!("the bare client of {platform}"));
        let bare = Bare::new(platform, &stage.simulator).await?;
        let speed = bare.rush(bench.sizes.bare, &stage.meter()).await?;
        let samples = bare.steady(STEADY, bench.sizes.steady).await?;
        let round_trips: Latencies = samples.iter().map(|sample| sample.round_trip).collect();
        lines.push(Line::new(
            format!("bare h2, {platform}"),
            format!("{} ({})", per_second(speed.rate), speed.cpu_text()),
        ));
        let steady = format!("bare h2, {platform}, answered at {STEADY}/s");
        lines.push(Line::new(steady, round_trips.text()));
        let found = json!({ "speed": speed.facts(), "round_trip_at_1000_per_second": round_trips.facts() });
        facts.insert(platform.to_string(), found);
    }
    stage.strike().await?;
    Ok(Findings { lines, facts: Value::Object(facts) })
}
