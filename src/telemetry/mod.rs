//! The log: its destination, format and levels. Started once, by `cli`. Traces are in [`trace`].
//!
//! A service and a command log to stderr, because stdout is for data; the demo logs to a file. A line has a message
//! that is clear by itself, and fields to search by; `detail` is the cause and `hint` the operator's next step. No line
//! contains a device token, a key or the text of a notification. A service's lines are written by a thread of their
//! own, so that nothing waits for the reader of stderr.
//!
//! [`metrics`] are the numbers of a node.

mod audit;
mod bursts;
mod levels;
mod line_format;
pub mod metrics;
mod panics;
mod queue;
pub mod trace;

use std::fmt::Display;
use std::fs::File;
use std::io::IsTerminal as _;
use std::sync::Mutex;

use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use audit::{AuditedAction, UNKNOWN_KEY};
pub use levels::BadLevels;
use line_format::LineFormat;
pub use line_format::set_node;
use queue::LogQueue;

/// The levels of a service's log without `PUSHPOST_LOG` and `RUST_LOG`. Warnings of sqlx's pool are left out, because a
/// statement that meets the same broken connection is reported in plain words, with the server. Warnings of Postgres are
/// left out, because a request of a client that hung up may be rolled back twice, which Postgres calls a warning.
const SERVICE: &str = "info,sqlx=warn,sqlx_core::pool=error,sqlx::postgres::notice=error";
/// The levels of a command's log, which stands beside the command's output. Warnings of sqlx are left out, because the
/// command reports a broken connection to Postgres itself. What an operator does is logged all the same.
const COMMAND: &str = "warn,sqlx=error,pushpost::audit=info";

/// The target of the lines about requests.
pub const REQUEST_TARGET: &str = "pushpost::request";
/// The target of the lines about attempts.
pub const ATTEMPT_TARGET: &str = "pushpost::attempt";
/// The target of the lines about what operators do.
pub const AUDIT_TARGET: &str = "pushpost::audit";

/// Where the log goes, which also decides its levels and its format where no variable does.
#[derive(Debug)]
pub enum LogDestination {
    /// Stderr of a service, which is mostly read by a collector: level `info`, and JSON unless stderr is a terminal.
    ServiceStderr,
    /// Stderr of a command, which is read by a person: level `warn`, as text.
    CommandStderr,
    /// A file, for a service within a command: level `info`, as text.
    File(File),
}

/// The form of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// Time, level, message and fields, with colours on a terminal.
    Text,
    /// One JSON object, with the fields beside the message.
    Json,
}

/// Why the log can't be started.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// A variable does not contain a list of levels.
    #[error("{variable}: {fault}")]
    Levels {
        /// The name of the variable.
        variable: &'static str,
        /// What is wrong with its value.
        fault: BadLevels,
    },
    /// `PUSHPOST_LOG_FORMAT` does not contain a format.
    #[error("PUSHPOST_LOG_FORMAT must be \"text\" or \"json\"")]
    LogFormat,
    /// The process has a log already.
    #[error("the log is started already")]
    Twice,
    /// The system refuses a thread for the log.
    #[error("cannot start a thread for the log")]
    Thread,
}

/// Keeps the log open until the process ends. Dropping it waits up to 1 s until all lines are written.
#[derive(Debug)]
pub struct LogGuard {
    queue: Option<LogQueue>,
    format: LogFormat,
}

impl LogGuard {
    /// Are the lines of the log JSON?
    pub fn is_json(&self) -> bool {
        self.format == LogFormat::Json
    }

    /// Writes a line to stderr as it is, after all lines of the log.
    pub fn print(&self, line: impl Display) {
        let line = format!("{line}\n");
        match &self.queue {
            Some(queue) => queue.push(line.as_bytes()),
            None => {
                // There is nowhere to report an error of stderr.
                let _ignored = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
            }
        }
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        if let Some(queue) = &self.queue {
            queue.flush();
        }
    }
}

/// Starts the log. `variable` reads the environment: `PUSHPOST_LOG` (else `RUST_LOG`) sets the levels,
/// `PUSHPOST_LOG_FORMAT` the format, and `NO_COLOR` removes the colours. From now on panics are logged too.
///
/// # Errors
/// A variable has an invalid value, or the process has a log already.
pub fn start(
    destination: LogDestination,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<LogGuard, Error> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    let is_terminal = !matches!(destination, LogDestination::File(_)) && std::io::stderr().is_terminal();
    let levels = levels(&destination, &variable)?;
    let format = format(&destination, variable("PUSHPOST_LOG_FORMAT").as_deref(), is_terminal)?;
    let (queue, writer) = match destination {
        LogDestination::ServiceStderr => {
            let queue = LogQueue::start(std::io::stderr()).map_err(|_| Error::Thread)?;
            (Some(queue.clone()), BoxMakeWriter::new(queue))
        }
        // Without a queue, so that lines keep their order with the command's own output.
        LogDestination::CommandStderr => (None, BoxMakeWriter::new(std::io::stderr)),
        LogDestination::File(file) => (None, BoxMakeWriter::new(Mutex::new(file))),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let is_coloured = is_terminal && variable("NO_COLOR").is_none();
    let all =
        tracing_subscriber::registry().with(levels).with(filter_fn(|line| !logs_secrets(line.target())));
    let all = all.with(metrics::LineCounter);
    let is_json = format == LogFormat::Json;
    let started = match (format, queue.clone()) {
        (LogFormat::Json, None) => {
            all.with(lines.json().flatten_event(true).with_span_list(false)).try_init()
        }
        (LogFormat::Json, Some(queue)) => {
            let lines = lines.json().flatten_event(true).with_span_list(false);
            all.with(lines.map_event_format(|inner| LineFormat { inner, queue, is_json })).try_init()
        }
        (LogFormat::Text, None) => all.with(lines.with_ansi(is_coloured)).try_init(),
        (LogFormat::Text, Some(queue)) => {
            let lines = lines.event_format(tracing_subscriber::fmt::format().with_ansi(is_coloured));
            let lines = lines.map_event_format(|inner| LineFormat { inner, queue, is_json });
            all.with(lines.with_ansi(is_coloured)).try_init()
        }
    };
    started.map_err(|_| Error::Twice)?;
    panics::log_panics();
    Ok(LogGuard { queue, format })
}

/// Libraries that log access tokens, assertions or whole headers at level debug or trace. No setting turns them on.
fn logs_secrets(target: &str) -> bool {
    ["yup_oauth2", "h2::hpack"].iter().any(|library| target.starts_with(library))
}

fn levels(
    destination: &LogDestination,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<Targets, Error> {
    let base = match destination {
        LogDestination::ServiceStderr | LogDestination::File(_) => SERVICE,
        LogDestination::CommandStderr => COMMAND,
    };
    // RUST_LOG may name targets of other programs.
    for (name, foreign) in [("PUSHPOST_LOG", false), ("RUST_LOG", true)] {
        if let Some(text) = variable(name) {
            let levels = levels::parse(&text, base, foreign);
            return levels.map_err(|fault| Error::Levels { variable: name, fault });
        }
    }
    Ok(base.parse().expect("the built-in levels are valid"))
}

/// JSON by default only for a service with a stderr that is no terminal, because then a collector reads the lines.
fn format(destination: &LogDestination, asked: Option<&str>, is_terminal: bool) -> Result<LogFormat, Error> {
    match (asked, destination) {
        (Some("json"), _) => Ok(LogFormat::Json),
        (Some("text"), _) => Ok(LogFormat::Text),
        (Some(_), _) => Err(Error::LogFormat),
        (None, LogDestination::ServiceStderr) if !is_terminal => Ok(LogFormat::Json),
        (None, _) => Ok(LogFormat::Text),
    }
}

/// What `work` logs on this thread, of every level.
#[cfg(test)]
pub(crate) fn captured(work: impl FnOnce()) -> Vec<String> {
    use std::sync::{Arc, PoisonError};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let written = Lines::default();
    let writer = written.clone();
    // With one subscriber alone, tracing keeps for all threads what the thread that comes first to an event answers.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone());
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
    let bytes = written.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_is_the_one_asked_for_else_fits_the_destination() {
        assert_eq!(format(&LogDestination::ServiceStderr, None, true), Ok(LogFormat::Text));
        assert_eq!(format(&LogDestination::ServiceStderr, None, false), Ok(LogFormat::Json));
        assert_eq!(format(&LogDestination::CommandStderr, None, false), Ok(LogFormat::Text));
        assert_eq!(format(&LogDestination::CommandStderr, Some("json"), true), Ok(LogFormat::Json));
        assert_eq!(format(&LogDestination::ServiceStderr, Some("text"), false), Ok(LogFormat::Text));
        assert_eq!(format(&LogDestination::ServiceStderr, Some("xml"), false), Err(Error::LogFormat));
    }

    #[test]
    fn targets_that_log_secrets_are_off() {
        assert!(logs_secrets("yup_oauth2::service_account"));
        assert!(!logs_secrets("pushpost::provider"));
    }

    #[test]
    fn pushpost_log_wins_over_rust_log_and_invalid_levels_are_errors() {
        let levels = |env: &[(&str, &str)]| {
            let find =
                |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            super::levels(&LogDestination::ServiceStderr, &find)
        };
        let targets = |text: &str| Ok(text.parse::<Targets>().expect("levels"));
        assert_eq!(levels(&[]), targets(SERVICE));
        let of_postgres = ("sqlx::postgres::notice", &tracing::Level::WARN);
        assert!(!targets(SERVICE).is_ok_and(|levels| levels.would_enable(of_postgres.0, of_postgres.1)));
        assert_eq!(levels(&[("RUST_LOG", "debug")]), targets("debug"));
        assert_eq!(levels(&[("RUST_LOG", "debug"), ("PUSHPOST_LOG", "error")]), targets("error"));
        let wrong = levels(&[("PUSHPOST_LOG", "warning")]);
        let fault = BadLevels::Level("warning".to_owned());
        assert_eq!(wrong, Err(Error::Levels { variable: "PUSHPOST_LOG", fault }));
    }
}
