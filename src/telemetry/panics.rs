//! Logs panics: their location and the type of their payload, but not their text, which may contain a token or the text
//! of a notification.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;

/// Installs the panic hook of the process.
pub(super) fn log_panics() {
    std::panic::set_hook(Box::new(log));
}

fn log(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map_or_else(|| "an unknown location".to_owned(), ToString::to_string);
    let payload = match panic.payload() {
        text if text.is::<&'static str>() => "&str",
        text if text.is::<String>() => "String",
        _ => "another type",
    };
    let thread = std::thread::current();
    // Captured only if RUST_BACKTRACE is set. A backtrace has names and locations, but no values.
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(
        payload,
        thread = thread.name(),
        backtrace,
        detail =
            "this is a bug in Pushpost; the text of a panic is not logged, because it may contain secrets",
        "panic at {location}"
    );
}
