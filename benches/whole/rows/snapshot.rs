//! Broadcasts while another session holds a snapshot, so that no dead row can be taken away.

use std::time::Duration;

use serde_json::json;
use sqlx::{Connection as _, Executor as _};
use tokio::time::Instant;

use super::broadcast::{Broadcast, mean};
use crate::report::{Findings, Line, per_second};
use crate::simulator::Manner;
use crate::stage::{Bench, Stage};
use crate::template::Template;
use pushpost::provider::apns;

const LEAST_RATIO: f64 = 0.85;

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Findings> {
    let (devices, held) = (bench.sizes.devices, bench.sizes.snapshot);
    let template = Template::of(apns::PLATFORM, devices);
    let stage = Stage::set_up(bench, template, Manner::COUNTS, &[]).await?;
    Broadcast::warm_up(bench, &stage, devices).await?;
    bench.progress.begin("a broadcast without a snapshot");
    let before = Broadcast::run(&stage, devices).await?;

    let mut session = stage.connect().await?;
    session.execute("begin isolation level repeatable read").await?;
    session.execute("select count(*) from (select from notifications limit 1) one").await?;
    let begun = Instant::now();
    let mut during: Vec<Broadcast> = Vec::new();
    while during.is_empty() || begun.elapsed() < held {
        bench.progress.begin(&format!("broadcasts beside a snapshot of {} s", begun.elapsed().as_secs()));
        during.push(Broadcast::run(&stage, devices).await?);
    }
    let lasted = begun.elapsed();
    session.execute("rollback").await?;
    session.close().await?;

    bench.progress.begin("a broadcast after the snapshot");
    let after = Broadcast::run(&stage, devices).await?;
    stage.strike().await?;
    let facts = json!({
        "before": before.facts(),
        "during": during.iter().map(Broadcast::facts).collect::<Vec<_>>(),
        "after": after.facts(),
    });
    Ok(Findings { lines: vec![line(before, &during, after, lasted)], facts })
}

/// All devices in all the time that it was held. What a snapshot costs grows meanwhile, so the last one is shown too; and the
/// slowest, though on a machine with neighbours it tells more of them.
fn line(before: Broadcast, during: &[Broadcast], after: Broadcast, lasted: Duration) -> Line {
    let without = mean([before, after].iter().map(Broadcast::rate));
    let held = during.len() as f64 / during.iter().map(|broadcast| 1.0 / broadcast.rate()).sum::<f64>();
    let slowest = during.iter().map(Broadcast::rate).fold(f64::INFINITY, f64::min);
    let last = during.last().map_or(0.0, Broadcast::rate);
    Line::new(
        format!("broadcasts beside a snapshot held for {} s", lasted.as_secs()),
        format!(
            "{} over {} (the slowest {}, the last {}; without {})",
            per_second(held),
            during.len(),
            per_second(slowest),
            per_second(last),
            per_second(without)
        ),
    )
    .ratio(held / without)
    .target(format!("at least {LEAST_RATIO} of that without"), held / without >= LEAST_RATIO)
}
