//! What services log at `warn` and `error` while tests run them in this process. A test that ends a service fails on what it did
//! not expect.
//!
//! A test is known by its runtime, and a node by the runtime of its lanes: tests run beside each other in one process.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde_json::Value;
use tokio::runtime::{Handle, Id};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// Lines that are kept of one runtime.
const LINES_MAX: usize = 1_000;
/// What tests cause by a rule of the simulator: the provider refuses, fails or is slow.
const BY_RULES: &[&str] = &[
    "lane stops sending until its next probe",
    "lane is suspended because the provider rejects its credential or configuration",
    "lane stays suspended after its probe",
    "no new FCM access token",
    "pruning guard engaged",
    "quarantined devices restored",
    "provider refuses the new credential, topic or endpoint",
    "new credential could not be tried",
    "Apple or web push key in the Firebase project is wrong",
];
/// What is logged of a Postgres that answers late, as it does on a machine with too much to do: no fault of the service.
const BY_LOAD: &[&str] =
    &["no answer from Postgres to a connection attempt within", "Postgres answers slowly"];

/// A line at `warn` or `error`.
#[derive(Clone, Debug, Default)]
pub struct LoggedLine {
    message: String,
    /// All of it, for a person.
    text: String,
}

#[derive(Default)]
struct LogWatch(Mutex<HashMap<Id, Vec<LoggedLine>>>);

static WATCH: OnceLock<LogWatch> = OnceLock::new();

/// Begins to keep lines. Later calls have no effect.
pub(crate) fn start() {
    WATCH.get_or_init(|| {
        let lines = KeepLines.with_filter(LevelFilter::WARN);
        let log = tracing_subscriber::registry().with(lines);
        // A program that has a log of its own, such as a bench, is not watched.
        let _other = tracing::subscriber::set_global_default(log);
        LogWatch::default()
    });
}

/// Takes the lines of these runtimes.
pub(crate) fn take(runtimes: &[Id]) -> Vec<LoggedLine> {
    let Some(watch) = WATCH.get() else { return Vec::new() };
    let mut lines = watch.0.lock().unwrap_or_else(PoisonError::into_inner);
    runtimes.iter().flat_map(|id| lines.remove(id).unwrap_or_default()).collect()
}

/// The lines at `warn` and `error` of a process's JSON log.
pub(crate) fn read(log: &str) -> Vec<LoggedLine> {
    let lines = log.lines().filter_map(|line| Some((line, serde_json::from_str::<Value>(line).ok()?)));
    let grave = lines.filter(|(_, read)| matches!(read["level"].as_str(), Some("WARN" | "ERROR")));
    let of = |(line, read): (&str, Value)| LoggedLine {
        message: read["message"].as_str().unwrap_or_default().to_owned(),
        text: line.to_owned(),
    };
    grave.map(of).collect()
}

/// Asserts that each line was expected. `has_rules`: the test has told the simulator to refuse or to fail.
#[track_caller]
pub(crate) fn assert_expected(lines: &[LoggedLine], expected: &[&str], has_rules: bool) {
    let by_rules = if has_rules { BY_RULES } else { &[] };
    let is_expected = |line: &&LoggedLine| {
        let mut messages = expected.iter().chain(by_rules);
        messages.any(|message| line.message.contains(message))
            || BY_LOAD.iter().any(|text| line.text.contains(text))
    };
    let unexpected: Vec<_> = lines.iter().filter(|line| !is_expected(line)).map(|line| &line.text).collect();
    assert!(unexpected.is_empty(), "unexpected lines in the log: {unexpected:#?}");
}

struct KeepLines;

impl<S: Subscriber> Layer<S> for KeepLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        // A thread of its own, such as that of a client, is no part of a service.
        let (Some(watch), Ok(handle)) = (WATCH.get(), Handle::try_current()) else { return };
        if *metadata.level() > Level::WARN || !metadata.target().starts_with("pushpost") {
            return;
        }
        let mut line = LoggedLine::default();
        let _written = write!(line.text, "{} {}:", metadata.level(), metadata.target());
        event.record(&mut line);
        let mut lines = watch.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = lines.entry(handle.id()).or_default();
        if lines.len() < LINES_MAX {
            lines.push(line);
        }
    }
}

impl Visit for LoggedLine {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
        let _written = write!(self.text, " {}={value:?}", field.name());
    }
}
