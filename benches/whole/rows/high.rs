//! `high` notifications while a broadcast to all devices runs.

use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::arrival::{CONNECTIONS, RATE, arrivals};
use super::broadcast::Broadcast;
use crate::latency::{Latencies, millis};
use crate::load::{Load, Paced};
use crate::report::{Findings, Line, grouped, per_second};
use crate::simulator::Manner;
use crate::stage::{Bench, Stage};
use crate::template::Template;
use pushpost::provider::apns;

pub(super) const MOST_P99: Duration = Duration::from_millis(60);
/// No broadcast takes longer.
const LONGEST: Duration = Duration::from_secs(1800);
/// The broadcast is under way by then.
const HEAD_START: Duration = Duration::from_millis(500);

/// What came of both.
pub(super) struct Played {
    pub(super) broadcast: Broadcast,
    /// From the POST of a `high` notification to the provider.
    pub(super) arrived: Latencies,
    /// From the POST of a `high` notification to its 202.
    pub(super) answered: Latencies,
    /// `high` notifications that were not answered 202.
    pub(super) refused: usize,
}

/// Plays on a stage of its own. `tables` are further tables of the service's configuration. `manner` says for the progress
/// what is special.
pub(super) async fn play(bench: &Bench, tables: &str, manner: &str) -> anyhow::Result<Played> {
    let devices = bench.sizes.devices;
    let template = Template::of(apns::PLATFORM, devices);
    let stage = Stage::set_up_with(bench, template, Manner::ARRIVALS, &[], tables).await?;
    let load = Load::new(&stage, devices.min(100_000), "high");
    bench.progress.begin(&format!("{RATE} high notifications a second beside a broadcast{manner}"));
    let over = CancellationToken::new();
    let broadcast = async {
        let broadcast = Broadcast::run(&stage, devices).await;
        over.cancel();
        broadcast
    };
    let urgent = async {
        tokio::time::sleep(HEAD_START).await;
        load.open(CONNECTIONS, RATE, LONGEST, &over).await
    };
    let (broadcast, Paced { posted, refused }) = tokio::try_join!(broadcast, urgent)?;
    let arrived = arrivals(&stage, &posted).await?;
    stage.strike().await?;
    let answered = posted.iter().map(|posted| posted.answered).collect();
    Ok(Played { broadcast, arrived, answered, refused })
}

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Findings> {
    let devices = bench.sizes.devices;
    let Played { broadcast, arrived, answered, refused } = play(bench, "", "").await?;
    let facts = json!({
        "post_to_arrival": arrived.facts(),
        "post_to_202": answered.facts(),
        "broadcast": broadcast.facts(),
        "refused": refused,
    });
    let p99 = arrived.at(0.99);
    let beside = format!("{refused} refused; the broadcast {}", per_second(broadcast.rate()));
    let line = Line::new(
        format!("high at {RATE}/s beside a broadcast to {}, p99", grouped(devices)),
        format!(
            "{} (p50 {}; 202 p99 {}; {beside})",
            millis(p99),
            millis(arrived.at(0.5)),
            millis(answered.at(0.99))
        ),
    )
    .target(format!("under {}", millis(MOST_P99)), refused == 0 && p99 < MOST_P99);
    Ok(Findings { lines: vec![line], facts })
}
