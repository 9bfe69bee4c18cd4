//! The one place where the simulator reads the wall clock: providers judge `iat`, `exp` and the moment a
//! token died by the time of day, so a server that stands in for them needs it too.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since 1970, to measure how long a request took to arrive.
#[expect(
    clippy::disallowed_methods,
    reason = "a provider checks iat and exp against its own clock, not Postgres's"
)]
pub(super) fn now_us() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    i64::try_from(elapsed.as_micros()).expect("microseconds since 1970 fit 63 bits")
}

/// Milliseconds since 1970, as APNs writes its `timestamp`.
pub(super) fn now_ms() -> i64 {
    now_us() / 1000
}

/// Seconds since 1970, as JWT claims count them.
pub(super) fn now_seconds() -> i64 {
    now_ms() / 1000
}

/// A moment in milliseconds since 1970, as JSON has it.
pub(super) fn rfc3339(ms: i64) -> String {
    let moment = chrono::DateTime::from_timestamp_millis(ms).unwrap_or_default();
    moment.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// An HTTP date that lies so many seconds ahead, for `Retry-After` in its second form.
#[expect(clippy::disallowed_methods, reason = "a Retry-After date is a wall-clock time by definition")]
pub(super) fn http_date_in(seconds: u64) -> String {
    httpdate::fmt_http_date(SystemTime::now() + std::time::Duration::from_secs(seconds))
}

/// Counts from the simulator's start, for rules that hold from one moment to another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Started(Instant);

impl Started {
    /// Starts the count.
    pub(super) fn now() -> Self {
        Self(Instant::now())
    }

    /// Milliseconds since the start.
    pub(super) fn elapsed_ms(self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
