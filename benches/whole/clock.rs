//! The time of day, which is all that two processes of one machine share.

use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};

/// Microseconds since 1970, as the simulator tells arrivals.
#[expect(clippy::disallowed_methods, reason = "compared with what another process read from the same clock")]
pub(crate) fn now_us() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    i64::try_from(elapsed.as_micros()).expect("microseconds since 1970 fit 63 bits")
}

/// The same as a date.
pub(crate) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(now_us()).expect("the clock is within range")
}
