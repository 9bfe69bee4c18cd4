//! `pushpost devices import`: registers the devices of a file, by the rules of `POST /v1/devices/import`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use clap::Args;
use indicatif::ProgressBar;

use super::check;
use super::source::{BadCsvHeader, FileFormat, ReadOptions, Source};
use crate::api::devices::import::{ImportProgress, ImportReport, OnFailure, run};
use crate::api::problem::Problem;
use crate::cli::command_error::CommandError;
use crate::cli::config_args::ConfigArgs;
use crate::cli::database;
use crate::cli::output;
use crate::cli::progress;
use crate::cli::signals::StopSignals;
use crate::domain::{App, ErrorLocation};
use crate::provider::built_in_platforms;
use crate::runtime::{Database, SchemaAccess};

/// Failed lines that are listed without `--json`.
const LISTED_MAX: usize = 20;

/// Import devices from a file, by the rules of POST /v1/devices/import
///
/// Lines are written as they are read, so that what came before an interruption stays; it says from where to go on. To
/// send lines again is harmless. With --json the result has the members of the API's answer, and next_line. The exit code
/// is 2 if a line was refused.
#[derive(Args, Debug)]
pub(super) struct Import {
    /// The file; - for stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The app, by its name in the configuration; may be left out if there is only one
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// The format of the file; by default CSV if its name ends in .csv, else NDJSON
    #[arg(long)]
    format: Option<FileFormat>,
    /// The first line to import, to continue an import
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    from_line: u64,
    /// What to do when a line can't be imported
    #[arg(long, value_name = "WHAT", default_value = "skip")]
    on_error: OnError,
    /// Tell the faults of all lines, and write nothing; exit code 2 if there is a fault
    #[arg(long)]
    check: bool,
    /// Print the result as JSON
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
    /// Continue with the next line
    Skip,
    /// End the import
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
        let source = Source::open(&self.file, self.reading(), built_in_platforms())?;
        if self.check {
            return check::run(&config, name, source, self.after(), self.json).await;
        }
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

    /// Imports until the end of the file. A first signal ends the import after the current batch, a second one at once.
    async fn import(
        &self,
        database: &Database,
        app: Arc<App>,
        mut source: Source,
        signals: &mut StopSignals,
    ) -> Result<ImportResult, CommandError> {
        let bar = progress::bar(source.length, true);
        let (interrupt, position) = (source.interrupted.clone(), Arc::clone(&source.position));
        let on_progress =
            |progress: &mut ImportProgress| show(&bar, position.load(Ordering::Relaxed), progress);
        let importing = run(database.pool(), &app, self.after(), &mut source, on_progress);
        let mut importing = std::pin::pin!(importing);
        let ended = tokio::select! {
            ended = &mut importing => ended,
            () = signals.next() => {
                interrupt.cancel();
                tokio::select! {
                    ended = &mut importing => ended,
                    () = signals.next() => {
                        bar.finish_and_clear();
                        return Err(CommandError::failed("interrupted").hint("the whole file may be imported again"));
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
            for (line, problem) in progress.errors.iter().take(LISTED_MAX) {
                eprintln!("line {line}: {}", in_words(problem));
            }
            if progress.failed > LISTED_MAX as u64 {
                eprintln!("… and {} more; --json lists the first 1,000", progress.failed - LISTED_MAX as u64);
            }
            output::line(&summary(&progress))?;
        }
        let go_on = format!("continue with --from-line {}", progress.next_line);
        match (done, progress.stopped_at) {
            (Err(error), _) if error.is::<BadCsvHeader>() => {
                Err(CommandError::from(error).hint("correct the first line, and import the whole file"))
            }
            (Err(error), _) => Err(CommandError::from(error).hint(go_on)),
            (Ok(()), _) if interrupted => Err(CommandError::failed("interrupted").hint(go_on)),
            (Ok(()), Some(line)) => {
                Err(CommandError::bad_news(format_args!("stopped at line {line}")).hint(go_on))
            }
            (Ok(()), None) if progress.failed > 0 => {
                let (were, these) =
                    if progress.failed == 1 { ("was", "this line") } else { ("were", "these lines") };
                let lines = counted(progress.failed, "line");
                let failure = CommandError::bad_news(format_args!("{lines} {were} not imported"));
                Err(failure.hint(format!("correct {these}, and import the whole file again")))
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
    let ignored =
        if *ignored > 0 { format!(", {} ignored", counted(*ignored, "hint")) } else { String::new() };
    let lines = counted(progress.lines(), "line");
    format!("{lines}: {created} created, {updated} updated, {failed} failed{ignored}")
}

/// A number of things, with the noun in its singular or plural.
pub(super) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Each error with its location; without errors the problem's own text.
pub(super) fn in_words(problem: &Problem) -> String {
    if problem.errors.is_empty() {
        return problem.detail.clone();
    }
    let faults = problem.errors.iter().map(|fault| {
        let place = match &fault.place {
            ErrorLocation::Pointer(place) | ErrorLocation::Parameter(place) => place.as_str(),
            ErrorLocation::Header(place) => place,
        };
        format!("{place}: {}", fault.detail)
    });
    faults.collect::<Vec<_>>().join("; ")
}
