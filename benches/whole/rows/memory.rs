//! The memory of the service in broadcasts of different sizes, which must not follow them.

use serde_json::json;

use super::broadcast::{Broadcast, MOST_MEMORY};
use crate::report::{Findings, Line, grouped, megabytes, per_second};
use crate::simulator::Manner;
use crate::stage::{Bench, Stage};
use crate::template::Template;
use pushpost::provider::apns;

/// "The same for both", but for what chance brings.
const MOST_GROWTH: f64 = 1.2;

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Findings> {
    let (few, many) = (bench.sizes.devices, bench.sizes.more_devices);
    let mut broadcasts = Vec::new();
    for devices in [few, many] {
        let template = Template::of(apns::PLATFORM, devices);
        let stage = Stage::set_up(bench, template, Manner::COUNTS, &[]).await?;
        bench.progress.begin(&format!("broadcast to {} devices", grouped(devices)));
        broadcasts.push(Broadcast::run(&stage, devices).await?);
        stage.strike().await?;
    }
    let [small, large] = [broadcasts[0], broadcasts[1]];
    let growth = large.peak_memory as f64 / small.peak_memory as f64;
    let measured = format!(
        "{} ({} for {}; {})",
        megabytes(large.peak_memory),
        megabytes(small.peak_memory),
        grouped(few),
        per_second(large.rate())
    );
    let line = Line::new(format!("broadcast to {}: memory", grouped(many)), measured).ratio(growth).target(
        format!("under {}, the same for both", megabytes(MOST_MEMORY)),
        large.peak_memory.max(small.peak_memory) < MOST_MEMORY && growth < MOST_GROWTH,
    );
    Ok(Findings { lines: vec![line], facts: json!({ "broadcasts": [small.facts(), large.facts()] }) })
}
