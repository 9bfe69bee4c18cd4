//! Many devices by one request with a long body.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::http::Connection;
use crate::report::{Findings, Line, grouped, megabytes, per_second};
use crate::simulator::Manner;
use crate::stage::{Bench, Stage};
use crate::template::Template;
use crate::usage::memory;
use crate::wait::{SHORT, within};
use pushpost::provider::apns;

const PATH: &str = "/v1/devices/import";
const LEAST_RATE: f64 = 20_000.0;
/// Slower than this a second is not worth the wait.
const SLOWEST: u64 = 1000;
/// Bytes of a piece of the body.
const PIECE: usize = 64 * 1024;
const LOOK: Duration = Duration::from_millis(100);
/// What memory may grow by after the first tenth and still be called flat.
const MOST_GROWTH: u64 = 32 << 20;

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Findings> {
    let devices = bench.sizes.imported;
    let template = Template::of(apns::PLATFORM, 0);
    let stage = Stage::set_up(bench, template, Manner::COUNTS, &[]).await?;
    let mut connection = Connection::open(stage.service.address(), stage.service.key()).await?;
    if matches!(connection.post(PATH, b"").await?.status, 404 | 405) {
        stage.strike().await?;
        let line = Line::missing("import", format!("POST {PATH}"));
        return Ok(Findings { lines: vec![line], facts: Value::Null });
    }
    bench.progress.begin(&format!("importing {} devices", grouped(devices)));
    let mut tenth = None;
    let begun = Instant::now();
    let (meter, before) = (stage.meter(), stage.meter().read()?);
    let imported = async {
        let mut lines = Lines::new(devices);
        let answer = connection.stream(PATH, "application/x-ndjson", |piece| lines.fill(piece)).await?;
        Ok((answer.status, serde_json::from_slice::<Value>(answer.body).unwrap_or_default()))
    };
    let limit = SHORT + Duration::from_secs(devices / SLOWEST);
    let (status, document) = tokio::select! {
        imported = within(limit, "an import", imported) => imported?,
        never = watch(&stage, devices, &mut tenth) => never?,
    };
    let (took, cpu) = (begun.elapsed(), meter.read()? - before);
    ensure!(status == 200, "the import was answered {status}: {document}");
    ensure!(document["created"] == devices, "of {devices} devices came {document}");
    let (rate, peak) = (devices as f64 / took.as_secs_f64(), stage.peak_memory()?);
    let growth = peak.saturating_sub(tenth.unwrap_or_default());
    stage.strike().await?;
    let facts = json!({
        "devices": devices,
        "seconds": took.as_secs_f64(),
        "rate": rate,
        "peak_memory_bytes": peak,
        "memory_after_a_tenth_bytes": tenth,
        "dispatcher_cpu_s": cpu.dispatcher.as_secs_f64(),
        "postgres_cpu_s": cpu.postgres.as_secs_f64(),
        "harness_cpu_s": cpu.harness.as_secs_f64(),
    });
    let measured =
        format!("{} at its peak, {} after a tenth", megabytes(peak), megabytes(tenth.unwrap_or(0)));
    let lines = vec![
        Line::new(format!("import of {} devices", grouped(devices)), per_second(rate))
            .target(format!("at least {}", per_second(LEAST_RATE)), rate >= LEAST_RATE),
        Line::new("import: memory", measured).target("flat", tenth.is_some() && growth < MOST_GROWTH),
    ];
    Ok(Findings { lines, facts })
}

/// Notes the memory of the service when a tenth is stored; goes on for ever.
async fn watch<T>(stage: &Stage<'_>, devices: u64, tenth: &mut Option<u64>) -> anyhow::Result<T> {
    let mut conn = stage.connect().await?;
    // What is not committed yet has been numbered all the same.
    let numbered = "select coalesce((select last_value from devices_device_id_seq where is_called), 0)";
    loop {
        sleep(LOOK).await;
        let stored: i64 = sqlx::query_scalar(numbered).fetch_one(&mut conn).await?;
        if tenth.is_none() && stored.cast_unsigned() >= devices / 10 {
            *tenth = Some(memory(stage.service.pid())?);
        }
    }
}

/// Lines of an import, as a backend would write its own table.
struct Lines {
    next: u64,
    devices: u64,
}

impl Lines {
    fn new(devices: u64) -> Self {
        Self { next: 0, devices }
    }

    fn fill(&mut self, piece: &mut Vec<u8>) {
        let mut text = String::with_capacity(PIECE + 256);
        while text.len() < PIECE && self.next < self.devices {
            let number = self.next;
            let token = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            // Writing to a string can't fail.
            let _ = writeln!(
                text,
                r#"{{"platform":"apns","token":"{token:016x}{number:016x}{token:016x}{number:016x}","user":"u{number}","locale":"de-DE","timezone":"Europe/Berlin","app_version":"5.2.0"}}"#
            );
            self.next += 1;
        }
        piece.extend_from_slice(text.as_bytes());
    }
}
