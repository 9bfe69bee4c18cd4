//! `high` notifications while a clean-up run goes through all devices, beside the same without a run.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::arrival::{CONNECTIONS, RATE, arrivals};
use super::high::MOST_P99;
use crate::http::Connection;
use crate::latency::millis;
use crate::load::{Load, Paced};
use crate::report::{Findings, Line, grouped, per_second};
use crate::simulator::Manner;
use crate::stage::{Bench, Stage};
use crate::template::Template;
use crate::wait::{SHORT, until, within};
use pushpost::provider::apns;

const PATH: &str = "/v1/admin/cleanups";
const CRITERIA: &[u8] = br#"{"inactive_days": 180, "max_share": 0.25}"#;
/// No run takes longer.
const LONGEST: Duration = Duration::from_secs(1800);
const LOOK: Duration = Duration::from_millis(100);
/// The devices that are sent to, which match no run.
const ADDRESSED: u64 = 100_000;

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Findings> {
    let (devices, time) = (bench.sizes.more_devices, bench.sizes.steady);
    let stage = Stage::set_up(bench, Template::of(apns::PLATFORM, devices), Manner::ARRIVALS, &[]).await?;
    let mut conn = stage.connect().await?;
    bench.progress.begin("making a fifth of the devices inactive");
    let inactive = make_inactive(&mut conn).await?;
    let load = Load::new(&stage, ADDRESSED.min(devices), "high");

    bench.progress.begin(&format!("{RATE} high notifications a second without a run"));
    let unstopped = CancellationToken::new();
    let alone = load.open(CONNECTIONS, RATE, time, &unstopped);
    let alone = within(SHORT + time, "notifications without a run", alone).await?;
    let without = arrivals(&stage, &alone.posted).await?;
    stage.simulator.forget().await?;

    bench.progress.begin(&format!("{RATE} high notifications a second beside a clean-up run"));
    let over = CancellationToken::new();
    let run = async {
        let took = run(&stage, &mut conn).await;
        over.cancel();
        took
    };
    let urgent = async { load.open(CONNECTIONS, RATE, LONGEST, &over).await };
    let (took, Paced { posted, refused }) = tokio::try_join!(run, urgent)?;
    let beside = arrivals(&stage, &posted).await?;
    let quarantined: i64 =
        sqlx::query_scalar("select quarantined from cleanup_runs").fetch_one(&mut conn).await?;
    ensure!(quarantined.cast_unsigned() == inactive, "{quarantined} of {inactive} devices are quarantined");
    stage.strike().await?;
    let rate = devices as f64 / took.as_secs_f64();
    let facts = json!({
        "devices": devices,
        "quarantined": quarantined,
        "seconds": took.as_secs_f64(),
        "without": without.facts(),
        "beside": beside.facts(),
        "refused": refused + alone.refused,
    });
    let row = format!("high at {RATE}/s beside a clean-up run over {}, p99", grouped(devices));
    let measured = format!(
        "{} (without {}; {} quarantined in {:.0} s, {})",
        millis(beside.at(0.99)),
        millis(without.at(0.99)),
        grouped(inactive),
        took.as_secs_f64(),
        per_second(rate)
    );
    let is_met = refused == 0 && beside.at(0.99) < MOST_P99;
    let line = Line::new(row, measured).target(format!("under {}", millis(MOST_P99)), is_met);
    Ok(Findings { lines: vec![line], facts })
}

/// Makes every fifth device that is not sent to inactive; answers how many.
async fn make_inactive(conn: &mut PgConnection) -> anyhow::Result<u64> {
    let sql = format!(
        "update devices set registered_at = now() - interval '1 year' where device_id > {ADDRESSED} and device_id % 5 = 0"
    );
    let done = sqlx::query(AssertSqlSafe(sql)).execute(&mut *conn).await?;
    conn.execute("vacuum (analyze) devices").await?;
    Ok(done.rows_affected())
}

/// Starts a run and waits for its end.
async fn run(stage: &Stage<'_>, conn: &mut PgConnection) -> anyhow::Result<Duration> {
    let mut connection = Connection::open(stage.service.address(), stage.service.key()).await?;
    let begun = Instant::now();
    let answer = connection.post(PATH, CRITERIA).await?;
    ensure!(answer.status == 202, "the run was answered {}", answer.status);
    until(LONGEST, LOOK, "the end of the run", async || {
        let ended = "select count(*) from cleanup_runs where done_at is not null";
        let ended: i64 = sqlx::query_scalar(ended).fetch_one(&mut *conn).await?;
        Ok((ended == 1).then_some(()))
    })
    .await?;
    Ok(begun.elapsed())
}
