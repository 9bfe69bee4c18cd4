//! `make bench`: the whole of Pushpost on this machine, measured beside a client that does nothing but HTTP/2.
//!
//! Postgres, the simulator and the service each run in processes of their own. Every rate stands beside what the bare
//! client reached against the same simulator in the same run, since machines differ and are noisy.
//!
//! | file | what it is |
//! |---|---|
//! | `options` | what is run, and how much of it |
//! | `rows` | what is measured |
//! | `stage` | what one measurement plays on |
//! | `cluster`, `template` | Postgres, and databases made once |
//! | `simulator`, `service`, `child`, `watchdog` | processes |
//! | `bare` | the client that does nothing else |
//! | `http` | the load on the API |
//! | `observers` | what scrapes the service, takes its spans and follows its events |
//! | `receivers` | what webhooks post to |
//! | `usage`, `latency`, `clock` | what is counted |
//! | `machine`, `report`, `progress` | what is told |

mod bare;
mod child;
mod clock;
mod cluster;
mod http;
mod latency;
mod load;
mod machine;
mod notification;
mod observers;
mod options;
mod progress;
mod receivers;
mod report;
mod rows;
mod service;
mod simulator;
mod stage;
mod template;
mod touches;
mod usage;
mod wait;
mod watchdog;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use serde_json::json;
use tokio::time::Instant;

use cluster::Cluster;
use options::Options;
use progress::Progress;
use report::{Findings, Line, Report};
use rows::Row;
use stage::Bench;
use watchdog::Watchdog;

/// Everything that stays: templates, logs, the report.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench");

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ran = runtime.context("cannot start the runtime").and_then(|runtime| runtime.block_on(run()));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let options = Options::read(std::env::args().skip(1))?;
    if let Some(unknown) = options.only.iter().find(|only| Row::ALL.iter().all(|row| row.name() != *only)) {
        bail!("there is no row {unknown}: there are {}", Row::ALL.map(Row::name).join(", "));
    }
    let begun = Instant::now();
    let mut run = json!({
        "at": clock::now().to_rfc3339(),
        "command": options.command(),
        "machine": machine::facts(),
    });
    let folder = Path::new(FOLDER);
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {FOLDER}"))?;
    let watchdog = Arc::new(Watchdog::start()?);
    let cluster = Cluster::start(&folder.join("postgres"), &watchdog).await?;
    run["postgres"] = cluster.version().into();
    let (sizes, folder) = (options.sizes(), folder.to_owned());
    if let Some(load) = machine::neighbours() {
        eprintln!("others are at work on this machine (load {load}): rates and latencies will be theirs too");
    }
    let bench = Bench { cluster, watchdog, progress: Progress::start(), sizes, folder };

    let mut report = Report::default();
    for row in Row::ALL.into_iter().filter(|row| options.wants(row.name())) {
        let begun = Instant::now();
        let findings = match row.measure(&bench).await {
            Ok(findings) => findings,
            Err(error) => {
                bench.progress.tell(&format!("{}: {error:#}", row.name()));
                bench.cluster.sweep().await?;
                let line = Line::new(row.name(), "failed").target("", false);
                Findings { lines: vec![line], facts: json!({ "failed": format!("{error:#}") }) }
            }
        };
        bench.progress.tell(&format!("{}: {} s", row.name(), begun.elapsed().as_secs()));
        report.add(row.name(), findings);
    }
    run["seconds"] = begun.elapsed().as_secs().into();
    bench.progress.clear();
    println!("{}", report.table());
    let path = bench.folder.join("report.json");
    report.save(&path, &run)?;
    println!("\n{} · {} s · {}", options.command(), begun.elapsed().as_secs(), path.display());
    bench.cluster.stop(&bench.watchdog).await
}
