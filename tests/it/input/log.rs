//! Captures what one thread logs.

use std::io;
use std::sync::{Arc, Mutex};

use tracing::Dispatch;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;

/// What was logged, of every level that could be asked for in operation.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

/// While it lives, this thread's log is kept.
pub(super) struct Logging {
    _here: DefaultGuard,
    _second: Dispatch,
}

impl Log {
    /// Until the guard is dropped, on this thread, which is the only one of these tests.
    pub(super) fn start(&self) -> Logging {
        // While there is one subscriber alone, tracing asks the thread that comes first to an event whether there is a
        // listener, and keeps the answer for all threads: that may be another test's thread, which has none.
        let second = Dispatch::new(tracing_subscriber::registry());
        let log = self.clone();
        let levels: Targets = "info,sqlx=warn,pushpost=trace".parse().unwrap();
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || log.clone());
        let subscriber = tracing_subscriber::registry().with(levels).with(lines);
        Logging { _here: tracing::subscriber::set_default(subscriber), _second: second }
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
