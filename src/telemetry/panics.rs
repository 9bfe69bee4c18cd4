//! Panics go into the log: where, and of which type, never with their text, which may quote a token or a notification.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;

/// From now on, for every thread and task of the process.
pub(super) fn log_panics() {
    std::panic::set_hook(Box::new(log));
}

fn log(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let payload = match panic.payload() {
        text if text.is::<&'static str>() => "&str",
        text if text.is::<String>() => "String",
        _ => "another type",
    };
    let thread = std::thread::current();
    // Where RUST_BACKTRACE asks for it. It has names and places, and no values.
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(
        payload,
        thread = thread.name(),
        backtrace,
        detail = "this is a fault of ours; the text of a panic is not logged, because it may hold secrets",
        "panic at {place}"
    );
}
