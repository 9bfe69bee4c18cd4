//! Notifications that are sent later: what a million of them cost an idle node, and how fast they are resolved when many are
//! due at once. Nothing is sent, because the lane is paused.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::time::{Instant, sleep};

use crate::http::Connection;
use crate::report::{Findings, Line, grouped, per_second};
use crate::simulator::Manner;
use crate::stage::{Bench, Stage};
use crate::template::Template;
use crate::wait::until;
use pushpost::provider::apns;

const PAUSE: &str = "/v1/admin/lanes/apns-production/pause";
/// Percent of a core, node and Postgres together.
const MOST_CPU: f64 = 1.0;
/// Resolving must not be slower than a lane sends single notifications.
const LEAST_RATE: f64 = 2_000.0;
const LONGEST: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_millis(50);

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Findings> {
    let (scheduled, due) = (bench.sizes.devices, bench.sizes.singles / 2);
    let template = Template::of(apns::PLATFORM, bench.sizes.devices);
    let stage = Stage::set_up(bench, template, Manner::COUNTS, &[]).await?;
    let mut connection = Connection::open(stage.service.address(), stage.service.key()).await?;
    ensure!(connection.post(PAUSE, b"").await?.status == 200, "the lane can't be paused");
    let mut conn = stage.connect().await?;
    bench.progress.begin("watching an idle node");
    let without = idle(bench, &stage).await?;
    bench.progress.begin(&format!("making {} scheduled notifications", grouped(scheduled)));
    schedule(&mut conn, scheduled).await?;
    bench
        .progress
        .begin(&format!("watching an idle node with {} scheduled notifications", grouped(scheduled)));
    let with = idle(bench, &stage).await?;
    bench.progress.begin(&format!("resolving {} that are due at once", grouped(due)));
    let (begun, before) = (Instant::now(), stage.meter().read()?);
    bring_forward(&mut conn, due).await?;
    let resolving = Instant::now();
    until(LONGEST, LOOK, "the last of those that are due", async || {
        let left: Option<bool> =
            sqlx::query_scalar("select true from fan_outs where due_at <= now() limit 1")
                .fetch_optional(&mut conn)
                .await?;
        Ok(left.is_none().then_some(()))
    })
    .await?;
    let (took, cpu) = (resolving.elapsed(), stage.meter().read()? - before);
    let jobs: i64 = sqlx::query_scalar("select count(*) from jobs").fetch_one(&mut conn).await?;
    ensure!(jobs.cast_unsigned() == due, "of {due} notifications, {jobs} have a job");
    stage.strike().await?;

    let rate = due as f64 / took.as_secs_f64();
    let per_million = 1e6 / due as f64;
    let facts = json!({
        "scheduled": scheduled,
        "idle_percent_of_a_core_without": without,
        "idle_percent_of_a_core_with": with,
        "due": due,
        "seconds": took.as_secs_f64(),
        "seconds_with_the_update_that_made_them_due": begun.elapsed().as_secs_f64(),
        "rate": rate,
        "dispatcher_cpu_s_per_million": cpu.dispatcher.as_secs_f64() * per_million,
        "postgres_cpu_s_per_million": cpu.postgres.as_secs_f64() * per_million,
    });
    let more = with - without;
    let lines = vec![
        Line::new(
            format!("idle with {} scheduled: CPU", grouped(scheduled)),
            format!("{with:.2} % of a core (without {without:.2} %)"),
        )
        .target(format!("at most {MOST_CPU} % more"), more <= MOST_CPU),
        Line::new(
            format!("{} scheduled, due at once", grouped(due)),
            format!(
                "{} resolved; {:.0} dispatcher + {:.0} Postgres CPU s per million",
                per_second(rate),
                cpu.dispatcher.as_secs_f64() * per_million,
                cpu.postgres.as_secs_f64() * per_million
            ),
        )
        .target(format!("at least {}", per_second(LEAST_RATE)), rate >= LEAST_RATE),
    ];
    Ok(Findings { lines, facts })
}

/// What node and Postgres use while nothing is to be done, in percent of a core.
async fn idle(bench: &Bench, stage: &Stage<'_>) -> anyhow::Result<f64> {
    sleep(bench.sizes.idle / 3).await;
    let (begun, cpu) = (Instant::now(), stage.meter().read()?);
    sleep(bench.sizes.idle).await;
    let used = stage.meter().read()? - cpu;
    Ok((used.dispatcher + used.postgres).as_secs_f64() * 100.0 / begun.elapsed().as_secs_f64())
}

/// Stores notifications to one device each, as a node does that accepts them, due in ten days and later.
async fn schedule(conn: &mut PgConnection, count: u64) -> anyhow::Result<()> {
    let sql = format!(
        r#"with new as materialized (
             select (substr(id_floor(now())::text, 1, 24) || lpad(to_hex(g), 12, '0'))::uuid as id, g as device,
                    now() + interval '10 days' + g * interval '1 s' as due_at
             from generate_series(1, {count}) g),
           stored as (
             insert into notifications (notification_id, app_id, priority, send_at, due_at, expires_at, content)
             select id, 1, 5, due_at, due_at, due_at + interval '1 hour', '{{"title":"Hi"}}' from new)
           insert into fan_outs (notification_id, app_id, priority, due_at, expires_at, target_count, format, is_scheduled, audience)
           select id, 1, 5, due_at, due_at + interval '1 hour', 0, 2, true,
                  convert_to('{{"kind":"alert","devices":[{{"public_id":"dev_' || device || '","device":' || device || '}}]}}', 'UTF8')
           from new"#
    );
    conn.execute(AssertSqlSafe(sql)).await?;
    conn.execute("vacuum (analyze) fan_outs, notifications").await?;
    conn.execute("checkpoint").await?;
    Ok(())
}

/// Makes the first of them due now.
async fn bring_forward(conn: &mut PgConnection, count: u64) -> anyhow::Result<()> {
    let sql = format!(
        "with due as materialized (select notification_id from fan_outs order by due_at limit {count}),
         notified as (
           update notifications set due_at = now(), expires_at = now() + interval '1 hour'
           where notification_id in (select notification_id from due))
         update fan_outs set due_at = now(), expires_at = now() + interval '1 hour'
         where notification_id in (select notification_id from due)"
    );
    conn.execute(AssertSqlSafe(sql)).await?;
    Ok(())
}
