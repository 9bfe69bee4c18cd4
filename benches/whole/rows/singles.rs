//! Notifications to one device each, as fast as the service takes them: from the first POST to the last outcome on
//! record, and then nothing may be left behind.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use tokio::time::Instant;

use super::broadcast::{bare_speed, mean};
use crate::bare::Bare;
use crate::latency::Latencies;
use crate::load::Load;
use crate::report::{Findings, Line, grouped, per_second};
use crate::simulator::Manner;
use crate::stage::{Bench, Stage};
use crate::template::Template;
use crate::usage::Cpu;
use crate::wait::{SHORT, until, within};
use pushpost::provider::apns;

const CONNECTIONS: usize = 128;
const LEAST_RATIO: f64 = 0.15;
/// Slower than this a second is not worth the wait.
const SLOWEST: u64 = 500;
const ASK: Duration = Duration::from_millis(20);

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Findings> {
    let (devices, singles) = (bench.sizes.devices, bench.sizes.singles);
    let stage = Stage::set_up(bench, Template::of(apns::PLATFORM, devices), Manner::COUNTS, &[]).await?;
    let bare = Bare::new(apns::PLATFORM, &stage.simulator).await?;
    let load = Load::new(&stage, singles, "normal");
    let before = bare_speed(bench, &bare, &stage).await?;
    stage.simulator.forget().await?;

    let Played { took, accepted_in, cpu, answered } = play(bench, &stage, &load, "").await?;

    let after = bare_speed(bench, &bare, &stage).await?;
    let rate = singles as f64 / took.as_secs_f64();
    let limit = mean([before, after].iter().map(|speed| speed.rate));
    let per_million = |cpu: Duration| cpu.as_secs_f64() * 1e6 / singles as f64;
    let facts = json!({
        "notifications": singles,
        "connections": CONNECTIONS,
        "seconds": took.as_secs_f64(),
        "accepted_after_seconds": accepted_in.as_secs_f64(),
        "rate": rate,
        "bare": [before.facts(), after.facts()],
        "answered": answered.facts(),
        "dispatcher_cpu_s_per_million": per_million(cpu.dispatcher),
        "postgres_cpu_s_per_million": per_million(cpu.postgres),
        "simulator_cpu_s_per_million": per_million(cpu.simulator),
        "harness_cpu_s_per_million": per_million(cpu.harness),
        "peak_memory_bytes": stage.peak_memory()?,
    });
    stage.strike().await?;
    let measured = format!(
        "{} (bare {}); all recorded; {:.0} dispatcher + {:.0} Postgres CPU s per million",
        per_second(rate),
        per_second(limit),
        per_million(cpu.dispatcher),
        per_million(cpu.postgres)
    );
    let lines = vec![
        Line::new("single notifications over HTTP", measured)
            .ratio(rate / limit)
            .target(format!("at least {LEAST_RATIO} of bare"), rate / limit >= LEAST_RATIO),
        Line::new(format!("… answered, {CONNECTIONS} at once"), answered.text()),
    ];
    Ok(Findings { lines, facts })
}

/// What came of notifications to one device each.
pub(super) struct Played {
    /// From the first POST to the last outcome on record.
    pub(super) took: Duration,
    /// From the first POST to the last 202.
    pub(super) accepted_in: Duration,
    pub(super) cpu: Cpu,
    pub(super) answered: Latencies,
}

/// Sends the whole load, until the last outcome is on record. `manner` says for the progress what is special.
pub(super) async fn play(
    bench: &Bench,
    stage: &Stage<'_>,
    load: &Load,
    manner: &str,
) -> anyhow::Result<Played> {
    let singles = load.len() as u64;
    bench.progress.begin(&format!("{} notifications to one device each{manner}", grouped(singles)));
    let mut conn = stage.connect().await?;
    let before = ended(stage, &mut conn).await?;
    let (meter, cpu_before, begun) = (stage.meter(), stage.meter().read()?, Instant::now());
    let limit = SHORT + Duration::from_secs(singles / SLOWEST);
    let answered = within(limit, "notifications to one device each", load.closed(CONNECTIONS)).await?;
    let accepted_in = begun.elapsed();
    until(SHORT, ASK, "the last outcomes", async || {
        let left: bool = sqlx::query_scalar("select exists (select from jobs)").fetch_one(&mut conn).await?;
        Ok((!left).then_some(()))
    })
    .await?;
    let (took, cpu) = (begun.elapsed(), meter.read()? - cpu_before);
    let after = ended(stage, &mut conn).await?;
    conn.close().await?;
    let [sent, recorded] = [after[0] - before[0], after[1] - before[1]];
    ensure!(sent == singles && recorded == singles, "of {singles}, {sent} sent, {recorded} recorded");
    Ok(Played { took, accepted_in, cpu, answered: answered.into_iter().collect() })
}

/// How many notifications the simulator has accepted, and how many are on record as accepted.
async fn ended(stage: &Stage<'_>, conn: &mut PgConnection) -> anyhow::Result<[u64; 2]> {
    let recorded: i64 =
        sqlx::query_scalar("select coalesce(sum(accepted), 0) from receipts").fetch_one(conn).await?;
    Ok([stage.simulator.counts().await?.accepted, recorded.cast_unsigned()])
}
