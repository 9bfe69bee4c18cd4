//! A broadcast in a database with a long past, beside one without.

use serde_json::json;

use super::broadcast::{Broadcast, mean};
use crate::report::{Findings, Line, grouped, per_second};
use crate::simulator::Manner;
use crate::stage::{Bench, Stage};
use crate::template::{Past, Template};
use pushpost::provider::apns;

const LEAST_RATIO: f64 = 0.9;

/// A database in which much has happened.
pub(super) fn template(bench: &Bench) -> Template {
    let past = Past { devices: bench.sizes.past_devices, deliveries: bench.sizes.past_deliveries };
    Template { past: Some(past), ..Template::of(apns::PLATFORM, bench.sizes.devices) }
}

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Findings> {
    let devices = bench.sizes.devices;
    let without = Template::of(apns::PLATFORM, devices);
    let mut broadcasts = Vec::new();
    for template in [without, template(bench), without] {
        let stage = Stage::set_up(bench, template, Manner::COUNTS, &[]).await?;
        let past = if template.past.is_some() { "with a long past" } else { "without a past" };
        bench.progress.begin(&format!("broadcast {past}"));
        let broadcast = Broadcast::run(&stage, devices).await?;
        bench.progress.tell(&format!("broadcast {past}: {}", per_second(broadcast.rate())));
        broadcasts.push(broadcast);
        stage.strike().await?;
    }
    let with = broadcasts[1];
    let without = mean([broadcasts[0], broadcasts[2]].iter().map(Broadcast::rate));
    let ratio = with.rate() / without;
    let row = format!(
        "broadcast beside {} deliveries, {} devices",
        grouped(bench.sizes.past_deliveries),
        grouped(bench.sizes.past_devices)
    );
    let line = Line::new(row, format!("{} (without {})", per_second(with.rate()), per_second(without)))
        .ratio(ratio)
        .target(format!("at least {LEAST_RATIO} of that without"), ratio >= LEAST_RATIO);
    let facts = json!({
        "before": broadcasts[0].facts(),
        "with_past": with.facts(),
        "after": broadcasts[2].facts(),
    });
    Ok(Findings { lines: vec![line], facts })
}
