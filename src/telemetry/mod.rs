//! The log: what is written, where, and in which form.
//!
//! Lines go to stderr, since stdout is for data. A line's message is readable by itself, and what it is about are
//! fields, so that it can be searched for. Device tokens, keys and texts of notifications are in neither. A service's
//! lines are written by a thread of their own, so that nothing waits for their reader.

mod levels;
mod panics;
mod queue;

use std::fmt::Display;
use std::io::IsTerminal as _;

use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use levels::BadLevels;
use queue::LogQueue;

/// What the service logs where nobody says otherwise.
const SERVICE: &str = "info,sqlx=warn";
/// A command's answer is its output; only what went wrong is worth a line beside it. Of a broken connection to Postgres,
/// whoever needed it tells.
const COMMAND: &str = "warn,sqlx=error";

/// Who will read it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogReader {
    /// The service's operator, mostly through something that collects lines.
    Service,
    /// A person (or a script) that waits for a command to end.
    Command,
}

/// How a line looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, with the fields beside the message.
    Json,
}

/// Why there is no log.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// Not a list of levels.
    #[error("{variable}: {fault}")]
    Levels {
        /// Where it was said.
        variable: &'static str,
        /// What is wrong with it.
        fault: BadLevels,
    },
    /// Not a format.
    #[error("PUSHPOST_LOG_FORMAT must be \"text\" or \"json\"")]
    LogFormat,
    /// There is a log already.
    #[error("the log was set up twice")]
    Twice,
    /// The system gives no thread for the log.
    #[error("there is no thread for the log")]
    Thread,
}

/// The log. To be kept until the process ends: dropping it waits, but not for long, until all lines are written.
#[derive(Debug)]
pub struct LogGuard(Option<LogQueue>);

impl LogGuard {
    /// Writes a line that is no event, behind all events.
    pub fn print(&self, line: impl Display) {
        let line = format!("{line}\n");
        match &self.0 {
            Some(queue) => queue.push(line.as_bytes()),
            None => {
                // An error of stderr can be told nowhere.
                let _gone = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
            }
        }
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        if let Some(queue) = &self.0 {
            queue.flush();
        }
    }
}

/// Starts the log. `variable` reads the environment: `PUSHPOST_LOG` (else `RUST_LOG`) gives the levels,
/// `PUSHPOST_LOG_FORMAT` the format, and `NO_COLOR` takes the colours away. From now on panics are in the log too.
///
/// # Errors
/// A variable says what can't be, or there is a log already.
pub fn start(reader: LogReader, variable: impl Fn(&str) -> Option<String>) -> Result<LogGuard, Error> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    let terminal = std::io::stderr().is_terminal();
    let levels = levels(reader, &variable)?;
    let format = format(reader, variable("PUSHPOST_LOG_FORMAT").as_deref(), terminal)?;
    let (log, writer) = match reader {
        LogReader::Service => {
            let queue = LogQueue::start(std::io::stderr()).map_err(|_| Error::Thread)?;
            (LogGuard(Some(queue.clone())), BoxMakeWriter::new(queue))
        }
        // A person waits for a command, and sees its progress on the same screen.
        LogReader::Command => (LogGuard(None), BoxMakeWriter::new(std::io::stderr)),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let all =
        tracing_subscriber::registry().with(levels).with(filter_fn(|line| !tells_secrets(line.target())));
    let started = match format {
        LogFormat::Json => all.with(lines.json().flatten_event(true).with_span_list(false)).try_init(),
        LogFormat::Text => all.with(lines.with_ansi(terminal && variable("NO_COLOR").is_none())).try_init(),
    };
    started.map_err(|_| Error::Twice)?;
    panics::log_panics();
    Ok(log)
}

/// Libraries that write access tokens, assertions or whole headers when they are asked for details: nobody can ask.
fn tells_secrets(target: &str) -> bool {
    ["yup_oauth2", "h2::hpack"].iter().any(|secretive| target.starts_with(secretive))
}

fn levels(reader: LogReader, variable: &impl Fn(&str) -> Option<String>) -> Result<Targets, Error> {
    let base = match reader {
        LogReader::Service => SERVICE,
        LogReader::Command => COMMAND,
    };
    // What stands in RUST_LOG may be meant for other programs.
    for (name, foreign) in [("PUSHPOST_LOG", false), ("RUST_LOG", true)] {
        if let Some(text) = variable(name) {
            let levels = levels::parse(&text, base, foreign);
            return levels.map_err(|fault| Error::Levels { variable: name, fault });
        }
    }
    Ok(base.parse().expect("our own levels are right"))
}

/// A service whose lines nobody watches writes JSON; everybody else is a person.
fn format(reader: LogReader, asked: Option<&str>, terminal: bool) -> Result<LogFormat, Error> {
    match (asked, reader) {
        (Some("json"), _) => Ok(LogFormat::Json),
        (Some("text"), _) => Ok(LogFormat::Text),
        (Some(_), _) => Err(Error::LogFormat),
        (None, LogReader::Service) if !terminal => Ok(LogFormat::Json),
        (None, _) => Ok(LogFormat::Text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_what_is_asked_for_else_what_the_reader_can_use() {
        assert_eq!(format(LogReader::Service, None, true), Ok(LogFormat::Text));
        assert_eq!(format(LogReader::Service, None, false), Ok(LogFormat::Json));
        assert_eq!(format(LogReader::Command, None, false), Ok(LogFormat::Text));
        assert_eq!(format(LogReader::Command, Some("json"), true), Ok(LogFormat::Json));
        assert_eq!(format(LogReader::Service, Some("text"), false), Ok(LogFormat::Text));
        assert_eq!(format(LogReader::Service, Some("xml"), false), Err(Error::LogFormat));
    }

    #[test]
    fn what_tells_secrets_can_not_be_asked_for() {
        assert!(tells_secrets("yup_oauth2::service_account"));
        assert!(!tells_secrets("pushpost::provider"));
    }

    #[test]
    fn our_own_variable_wins_and_a_wrong_one_is_told() {
        let levels = |env: &[(&str, &str)]| {
            let find =
                |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            super::levels(LogReader::Service, &find)
        };
        let targets = |text: &str| Ok(text.parse::<Targets>().expect("levels"));
        assert_eq!(levels(&[]), targets("sqlx=warn,info"));
        assert_eq!(levels(&[("RUST_LOG", "debug")]), targets("debug"));
        assert_eq!(levels(&[("RUST_LOG", "debug"), ("PUSHPOST_LOG", "error")]), targets("error"));
        let wrong = levels(&[("PUSHPOST_LOG", "warning")]);
        let fault = BadLevels::Level("warning".to_owned());
        assert_eq!(wrong, Err(Error::Levels { variable: "PUSHPOST_LOG", fault }));
    }
}
