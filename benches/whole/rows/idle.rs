//! A node that has nothing to do.

use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::report::{Findings, Line};
use crate::simulator::Manner;
use crate::stage::{Bench, Stage};
use crate::template::Template;
use pushpost::provider::apns;

/// Percent of a core.
const MOST_CPU: f64 = 1.0;
const MOST_STATEMENTS: f64 = 3.0;
/// The service logs each statement where it sends it: Postgres's own statistics count its autovacuum too.
const LOG: (&str, &str) = ("PUSHPOST_LOG", "info,sqlx::query=debug");
const STATEMENT: &str = r#""target":"sqlx::query""#;

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Findings> {
    let template = Template::of(apns::PLATFORM, bench.sizes.devices);
    let stage = Stage::set_up(bench, template, Manner::COUNTS, &[LOG]).await?;
    bench.progress.begin("watching an idle node");
    // Its start is no idling.
    sleep(bench.sizes.idle / 3).await;
    let statements = || stage.service.log().matches(STATEMENT).count();
    let (begun, before, meter) = (Instant::now(), statements(), stage.meter());
    let cpu = meter.read()?;
    sleep(bench.sizes.idle).await;
    let (cpu, seconds) = (meter.read()? - cpu, begun.elapsed().as_secs_f64());
    let asked = (statements() - before) as f64 / seconds;
    stage.strike().await?;
    let percent = |used: std::time::Duration| used.as_secs_f64() * 100.0 / seconds;
    let (node, postgres) = (percent(cpu.dispatcher), percent(cpu.postgres));
    let lines = vec![
        Line::new("idle node: CPU", format!("{node:.2} % of a core (Postgres {postgres:.2} %)"))
            .target(format!("under {MOST_CPU} %"), node < MOST_CPU),
        Line::new("idle node: statements", format!("{asked:.2}/s"))
            .target(format!("under {MOST_STATEMENTS}/s"), asked < MOST_STATEMENTS),
    ];
    let facts = json!({
        "seconds": seconds,
        "node_percent_of_a_core": node,
        "postgres_percent_of_a_core": postgres,
        "statements_per_second": asked,
    });
    Ok(Findings { lines, facts })
}
