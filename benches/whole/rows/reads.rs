//! What a backend reads while a broadcast runs, in a database with a long past.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::past;
use crate::http::Connection;
use crate::latency::{Latencies, millis};
use crate::notification;
use crate::report::{Findings, Line, grouped};
use crate::simulator::Manner;
use crate::stage::{Bench, Stage};
use crate::wait::{SHORT, until, within};

const MOST: Duration = Duration::from_millis(50);
const BETWEEN: Duration = Duration::from_millis(50);
const ASK: Duration = Duration::from_millis(200);
/// No broadcast takes longer.
const LONGEST: Duration = Duration::from_secs(1800);

/// What is read, and how long it took.
#[derive(Default)]
struct Reads {
    status: Vec<Duration>,
    page: Vec<Duration>,
    timeline: Vec<Duration>,
    timeline_there: bool,
}

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Findings> {
    let stage = Stage::set_up(bench, past::template(bench), Manner::COUNTS, &[]).await?;
    bench.progress.begin("reading while a broadcast runs");
    let over = CancellationToken::new();
    let id = stage.service.post(&notification::to(json!({ "all": true }))).await?;
    let ended = async {
        let done = until(LONGEST, ASK, "a broadcast", async || stage.service.done(&id).await).await;
        over.cancel();
        done
    };
    let reading = read(&stage, &id, bench.sizes.past_devices, &over);
    let (_, reads) = tokio::try_join!(ended, reading)?;
    stage.strike().await?;
    Ok(findings(bench, reads))
}

/// One after the other, each kind in turn, until the broadcast is over.
async fn read(stage: &Stage<'_>, id: &str, devices: u64, over: &CancellationToken) -> anyhow::Result<Reads> {
    let mut connection = Connection::open(stage.service.address(), stage.service.key()).await?;
    let mut reads = Reads { timeline_there: true, ..Reads::default() };
    let mut device = 1;
    while !over.is_cancelled() {
        let (_, took) = timed(&mut connection, &format!("/v1/notifications/{id}"), &[200]).await?;
        reads.status.push(took);
        let (_, took) = timed(&mut connection, &format!("/v1/notifications/{id}/deliveries"), &[200]).await?;
        reads.page.push(took);
        if reads.timeline_there {
            let path = format!("/v1/devices/{}/deliveries", stage.device(device));
            let (status, took) = timed(&mut connection, &path, &[200, 404, 405]).await?;
            reads.timeline_there = status == 200;
            reads.timeline.push(took);
            device = 1 + (device + 7919) % devices;
        }
        sleep(BETWEEN).await;
    }
    Ok(reads)
}

async fn timed(connection: &mut Connection, path: &str, fine: &[u16]) -> anyhow::Result<(u16, Duration)> {
    let begun = Instant::now();
    let what = "reading while a broadcast runs";
    let status = within(SHORT, what, async { Ok(connection.get(path).await?.status) }).await?;
    ensure!(fine.contains(&status), "GET {path} was answered {status}");
    Ok((status, begun.elapsed()))
}

fn findings(bench: &Bench, reads: Reads) -> Findings {
    let mut facts = Map::new();
    let mut line = |name: &str, took: Vec<Duration>| {
        let took: Latencies = took.into_iter().collect();
        facts.insert(name.to_owned(), took.facts());
        let measured =
            format!("{}, worst {} of {}", took.text(), millis(took.worst()), grouped(took.count() as u64));
        let row = format!("{name}, while a broadcast to {} runs, p99", grouped(bench.sizes.devices));
        Line::new(row, measured).target(format!("under {}", millis(MOST)), took.at(0.99) < MOST)
    };
    let mut lines = vec![line("status", reads.status), line("page of deliveries", reads.page)];
    if reads.timeline_there {
        lines.push(line("timeline of a device", reads.timeline));
    } else {
        lines.push(Line::missing("timeline of a device", "GET /v1/devices/{id}/deliveries"));
    }
    Findings { lines, facts: Value::Object(facts) }
}
