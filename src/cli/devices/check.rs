//! `pushpost devices import --check`: the faults of a file, by the code that imports it, and nothing is written.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use indicatif::ProgressBar;
use serde_json::json;

use super::import::{counted, in_words};
use super::source::{BadCsvHeader, Source};
use crate::api::devices::import::{ImportProgress, OnFailure, check};
use crate::api::problem::Problem;
use crate::cli::command_error::CommandError;
use crate::cli::signals::StopSignals;
use crate::cli::{database, output, progress};
use crate::config::Config;
use crate::registry::import_check::ImportCheck;
use crate::runtime::{Database, SchemaAccess};

/// Prints faults as they are found, so that memory holds those of one batch.
struct FaultPrinter {
    as_json: bool,
    printed: u64,
    /// Why stdout could not be written to.
    failure: Option<anyhow::Error>,
}

/// Checks the lines of `source` for an app of the configuration.
///
/// # Errors
/// A line has a fault, or the check did not come to its end.
pub(super) async fn run(
    config: &Config,
    app: &str,
    source: Source,
    after: OnFailure,
    as_json: bool,
) -> Result<(), CommandError> {
    let mut signals = StopSignals::catch()?;
    let database = database::open(config, SchemaAccess::Use).await?;
    let checked = tokio::select! {
        checked = check_all(&database, ImportCheck::new(app, config.limits.topics), source, after, as_json) => checked,
        () = signals.next() => Err(CommandError::failed("interrupted")),
    };
    database.close().await?;
    checked
}

async fn check_all(
    database: &Database,
    mut judge: ImportCheck,
    mut source: Source,
    after: OnFailure,
    as_json: bool,
) -> Result<(), CommandError> {
    let bar = progress::bar(source.length, true);
    let position = Arc::clone(&source.position);
    let mut printer = FaultPrinter { as_json, printed: 0, failure: None };
    printer.open();
    let told = |progress: &mut ImportProgress| {
        bar.set_position(position.load(Ordering::Relaxed));
        bar.set_message(summary(progress));
        printer.print(&bar, std::mem::take(&mut progress.errors));
    };
    let (progress, done) = check(database.pool(), &mut judge, after, &mut source, told).await;
    bar.finish_and_clear();
    let has_header = !done.as_ref().is_err_and(anyhow::Error::is::<BadCsvHeader>);
    printer.close(&progress, has_header)?;
    match done {
        Err(error) if !has_header => return Err(CommandError::from(error).hint("correct the first line")),
        done => done?,
    }
    if progress.failed > 0 {
        let failure = CommandError::bad_news(summary(&progress));
        return Err(failure.hint("nothing was written"));
    }
    Ok(())
}

impl FaultPrinter {
    fn open(&mut self) {
        if self.as_json {
            self.line("{\"errors\":[");
        }
    }

    fn print(&mut self, bar: &ProgressBar, faults: Vec<(u64, Problem)>) {
        bar.suspend(|| {
            for (line, problem) in faults {
                let text = match (self.as_json, self.printed) {
                    (true, 0) => as_json(line, &problem),
                    (true, _) => format!(",{}", as_json(line, &problem)),
                    (false, _) => format!("line {line}: {}", in_words(&problem)),
                };
                self.printed += 1;
                self.line(&text);
            }
        });
    }

    /// Prints how many lines there were, but not to people if the columns are unknown and no line was read.
    fn close(mut self, progress: &ImportProgress, has_header: bool) -> anyhow::Result<()> {
        if self.as_json {
            let rest = json!({"lines": progress.lines(), "failed": progress.failed, "stopped_at": progress.stopped_at});
            let rest = rest.to_string();
            self.line(&format!("],{}", rest.trim_start_matches('{')));
        } else if progress.failed == 0 && has_header {
            self.line(&summary(progress));
        }
        self.failure.map_or(Ok(()), Err)
    }

    fn line(&mut self, text: &str) {
        if self.failure.is_none() {
            self.failure = output::line(text).err();
        }
    }
}

fn as_json(line: u64, problem: &Problem) -> String {
    json!({"line": line, "problem": problem.document(None)}).to_string()
}

fn summary(progress: &ImportProgress) -> String {
    let (lines, failed) = (counted(progress.lines(), "line"), progress.failed);
    match failed {
        0 => format!("{lines}: no fault"),
        _ => format!("{lines}: {failed} with a fault"),
    }
}
