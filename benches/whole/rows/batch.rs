//! Notifications in batches of a thousand, to one device each, as fast as the service answers. Nothing is sent meanwhile,
//! because the lane is paused.

use std::sync::Mutex;

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use serde_json::json;
use sqlx::Connection as _;
use tokio::time::Instant;

use crate::http::Connection;
use crate::load::Load;
use crate::report::{Findings, Line, grouped, per_second};
use crate::simulator::Manner;
use crate::stage::{Bench, Stage};
use crate::template::Template;
use crate::wait::{SHORT, within};
use pushpost::provider::apns;

const PATH: &str = "/v1/notifications/batch";
const PAUSE: &str = "/v1/admin/lanes/apns-production/pause";
const ITEMS: usize = 1000;
const CONNECTIONS: usize = 4;
const LEAST_RATE: f64 = 20_000.0;

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Findings> {
    let singles = bench.sizes.singles;
    let template = Template::of(apns::PLATFORM, bench.sizes.devices);
    let stage = Stage::set_up(bench, template, Manner::COUNTS, &[]).await?;
    let mut connection = Connection::open(stage.service.address(), stage.service.key()).await?;
    if matches!(connection.post(PATH, b"").await?.status, 404 | 405) {
        stage.strike().await?;
        let line = Line::missing("batches", format!("POST {PATH}"));
        return Ok(Findings { lines: vec![line], facts: json!(null) });
    }
    ensure!(connection.post(PAUSE, b"").await?.status == 200, "the lane can't be paused");
    let load = Load::new(&stage, singles, "normal");
    // Posted from the end.
    let bodies: Vec<Vec<u8>> = load.batches(ITEMS).collect();
    bench.progress.begin(&format!("{} notifications in batches", grouped(singles)));
    let bodies = Mutex::new(bodies);
    let (meter, before, begun) = (stage.meter(), stage.meter().read()?, Instant::now());
    let posting = try_join_all((0..CONNECTIONS).map(|_| post(&stage, &bodies)));
    within(SHORT, "batches", posting).await?;
    let (took, cpu) = (begun.elapsed(), meter.read()? - before);
    let mut conn = stage.connect().await?;
    let stored: i64 = sqlx::query_scalar("select count(*) from jobs").fetch_one(&mut conn).await?;
    let commits: i64 = sqlx::query_scalar("select count(distinct xmin::text) from notifications")
        .fetch_one(&mut conn)
        .await?;
    conn.close().await?;
    ensure!(stored.cast_unsigned() == singles, "of {singles} jobs, {stored} wait");
    let rate = singles as f64 / took.as_secs_f64();
    let per_million = 1e6 / singles as f64;
    let facts = json!({
        "notifications": singles,
        "items": ITEMS,
        "connections": CONNECTIONS,
        "seconds": took.as_secs_f64(),
        "rate": rate,
        "commits": commits,
        "dispatcher_cpu_s_per_million": cpu.dispatcher.as_secs_f64() * per_million,
        "postgres_cpu_s_per_million": cpu.postgres.as_secs_f64() * per_million,
        "harness_cpu_s_per_million": cpu.harness.as_secs_f64() * per_million,
        "peak_memory_bytes": stage.peak_memory()?,
    });
    stage.strike().await?;
    let measured = format!(
        "{}; {:.0} dispatcher + {:.0} Postgres CPU s per million",
        per_second(rate),
        cpu.dispatcher.as_secs_f64() * per_million,
        cpu.postgres.as_secs_f64() * per_million
    );
    let line = Line::new(format!("notifications in batches of {}", grouped(ITEMS as u64)), measured)
        .target(format!("at least {}", per_second(LEAST_RATE)), rate >= LEAST_RATE);
    Ok(Findings { lines: vec![line], facts })
}

/// Posts what is left, one after the other.
async fn post(stage: &Stage<'_>, bodies: &Mutex<Vec<Vec<u8>>>) -> anyhow::Result<()> {
    let mut connection = Connection::open(stage.service.address(), stage.service.key()).await?;
    let next = || bodies.lock().ok().and_then(|mut bodies| bodies.pop());
    while let Some(body) = next() {
        let answer = connection.post(PATH, &body).await?;
        let text = std::str::from_utf8(answer.body).context("the answer")?;
        let refused = text.find("{\"problem\"").map(|at| &text[at..]);
        ensure!(answer.status == 200, "a batch was answered {}: {text}", answer.status);
        ensure!(refused.is_none(), "an item was refused: {refused:?}");
    }
    Ok(())
}
