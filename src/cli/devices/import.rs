//! `pushpost devices import`: a table of devices into the database.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use clap::Args;
use indicatif::ProgressBar;

use super::progress;
use super::source::{FileFormat, ReadOptions, Source};
use crate::api::devices::import::{ImportProgress, ImportReport, OnFailure, run};
use crate::api::problem::Problem;
use crate::cli::command_error::CommandError;
use crate::cli::database;
use crate::cli::output;
use crate::cli::settings::ConfigArgs;
use crate::cli::signals::StopSignals;
use crate::domain::{App, ErrorLocation};
use crate::runtime::{Database, SchemaAccess};

/// Most bad lines that are told to people.
const TOLD: usize = 20;

/// Import devices from a file, by the rules of POST /v1/devices/import
///
/// Lines are written as they are read, so that what came before an interruption stays; it says from where to go on. To
/// send lines again is harmless. With --json the result has the members of the API's answer, and next_line.
#[derive(Args, Debug)]
pub(super) struct Import {
    /// The file; - is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The app that they belong to, as the configuration names it; may be left out if it has only one
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// How the file is written; left out, a name that ends in .csv says CSV, any other NDJSON
    #[arg(long)]
    format: Option<FileFormat>,
    /// The first line to import, to go on where an import has ended
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    from_line: u64,
    /// What to do about a line that can't be imported
    #[arg(long, value_name = "WHAT", default_value = "skip")]
    on_error: OnError,
    /// Answer in JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// The answer's members, and where to go on.
#[derive(serde::Serialize)]
struct JsonReport<'a> {
    #[serde(flatten)]
    report: ImportReport<'a>,
    next_line: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum OnError {
    /// Go on with the next one
    Skip,
    /// End there
    Stop,
}

/// How an import ended.
struct ImportResult {
    progress: ImportProgress,
    done: anyhow::Result<()>,
    interrupted: bool,
}

impl Import {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let config = self.config.load()?;
        let name = database::resolve_app(&config, self.app.as_deref())?;
        let source = Source::open(&self.file, self.reading())?;
        let mut signals = StopSignals::catch()?;
        let database = database::open(&config, SchemaAccess::Create).await?;
        let ended = match database::app(&database, &config, name).await {
            Ok(app) => self.import(&database, app, source, &mut signals).await,
            Err(failure) => Err(failure),
        };
        database.close().await?;
        self.report(ended?)
    }

    fn reading(&self) -> ReadOptions {
        let is_csv = self.file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
        ReadOptions {
            format: self.format.unwrap_or(if is_csv { FileFormat::Csv } else { FileFormat::Ndjson }),
            from_line: self.from_line,
            after: self.after(),
        }
    }

    fn after(&self) -> OnFailure {
        match self.on_error {
            OnError::Skip => OnFailure::Continue,
            OnError::Stop => OnFailure::Stop,
        }
    }

    /// To the end of the file, or of the batch that is being written when a signal comes.
    async fn import(
        &self,
        database: &Database,
        app: Arc<App>,
        mut source: Source,
        signals: &mut StopSignals,
    ) -> Result<ImportResult, CommandError> {
        let bar = progress::bar(source.length, true);
        let (interrupt, position) = (source.interrupted.clone(), Arc::clone(&source.position));
        let told = |progress: &ImportProgress| show(&bar, position.load(Ordering::Relaxed), progress);
        let importing = run(database.pool(), &app, self.after(), &mut source, told);
        let mut importing = std::pin::pin!(importing);
        let ended = tokio::select! {
            ended = &mut importing => ended,
            () = signals.next() => {
                interrupt.cancel();
                tokio::select! {
                    ended = &mut importing => ended,
                    () = signals.next() => {
                        bar.finish_and_clear();
                        return Err(CommandError::failed("interrupted").hint("all of it may be imported again"));
                    }
                }
            }
        };
        bar.finish_and_clear();
        let (mut progress, done) = ended;
        progress.next_line = progress.next_line.max(self.from_line);
        let interrupted = interrupt.is_cancelled() && done.is_ok() && progress.stopped_at.is_none();
        if interrupted || done.is_err() {
            progress.stop();
        }
        Ok(ImportResult { progress, done, interrupted })
    }

    fn report(&self, ImportResult { progress, done, interrupted }: ImportResult) -> Result<(), CommandError> {
        if self.json {
            let report = JsonReport { report: progress.report(None), next_line: progress.next_line };
            output::line(&serde_json::to_string(&report).expect("a report is always writable"))?;
        } else {
            for (line, problem) in progress.errors.iter().take(TOLD) {
                eprintln!("line {line}: {}", in_words(problem));
            }
            if progress.failed > TOLD as u64 {
                eprintln!("… and {} more; --json tells the first 1,000", progress.failed - TOLD as u64);
            }
            output::line(&summary(&progress))?;
        }
        let go_on = format!("--from-line {} goes on from there", progress.next_line);
        match (done, progress.stopped_at) {
            (Err(error), _) => Err(CommandError::from(error).hint(go_on)),
            (Ok(()), _) if interrupted => Err(CommandError::failed("interrupted").hint(go_on)),
            (Ok(()), Some(line)) => {
                Err(CommandError::failed(format_args!("stopped at line {line}")).hint(go_on))
            }
            (Ok(()), None) if progress.failed > 0 => {
                let failure =
                    CommandError::failed(format_args!("{} lines were not imported", progress.failed));
                Err(failure.hint("mended, the whole file may be imported again"))
            }
            (Ok(()), None) => Ok(()),
        }
    }
}

fn show(bar: &ProgressBar, position: u64, progress: &ImportProgress) {
    bar.set_position(position);
    bar.set_message(summary(progress));
}

fn summary(progress: &ImportProgress) -> String {
    let ImportProgress { created, updated, failed, ignored, .. } = progress;
    let ignored = if *ignored > 0 { format!(", {ignored} hints ignored") } else { String::new() };
    format!("{} lines: {created} created, {updated} updated, {failed} failed{ignored}", progress.lines())
}

/// Each fault with its place; without faults the problem itself.
fn in_words(problem: &Problem) -> String {
    if problem.errors.is_empty() {
        return problem.detail.clone();
    }
    let faults = problem.errors.iter().map(|fault| {
        let place = match &fault.place {
            ErrorLocation::Pointer(place) | ErrorLocation::Parameter(place) => place.as_str(),
            ErrorLocation::Header(place) => place,
        };
        let meant = fault.facts.get("suggestion").and_then(|suggestion| suggestion.as_str());
        let meant = meant.map_or_else(String::new, |name| format!(" (is {name} meant?)"));
        format!("{place}: {}{meant}", fault.detail)
    });
    faults.collect::<Vec<_>>().join("; ")
}
