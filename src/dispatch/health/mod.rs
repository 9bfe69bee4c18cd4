//! Whether a lane may send, and what its operators are told about it.
//!
//! [`LaneHealth`](state::LaneHealth) decides: a pure state machine without locks, I/O or a clock. [`LaneGate`] holds it
//! for all tasks of the lane, and [`suspension`] stores what other nodes have to know. `docs/lane_states.md` draws the
//! states and lists what each event does.

mod event;
mod gate;
mod log_lines;
mod report;
mod state;
pub(super) mod suspension;

use std::time::Duration;

pub(super) use self::event::{Admission, Attribution, Generation, LaneEvent, ProbeTarget, StoredSuspension};
pub(super) use self::gate::LaneGate;

/// First wait of a lane that stops. Each failed probe doubles the wait. Short, because most faults pass within seconds.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// Longest wait that this node chooses itself: a provider that works again gets a probe within a minute.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Longest wait that a provider's `Retry-After` can ask for. Providers are known to send absurd values.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// Time between two probes of a suspended lane. They go on, because the rejection may be the provider's mistake.
const SUSPENDED_PROBE_INTERVAL: Duration = Duration::from_secs(60);
/// For this long after a recovery of this node was stored, a suspension read from the database is ignored, because the
/// reading may be older.
const SETTLE_TIME: Duration = Duration::from_secs(10);
/// Server errors in a row, with no better answer between them, that count as an outage of the provider.
const OUTAGE_FAILURES: u64 = 10;
/// Time that a run of time-outs has to span before it counts as an outage. One broken connection fails all its requests
/// at the same moment.
const TIMEOUT_SPAN_MIN: Duration = Duration::from_secs(1);

/// The wait that a provider asks for, but at most [`RETRY_AFTER_MAX`].
pub(super) fn bounded_retry_after(asked: Duration) -> Duration {
    asked.min(RETRY_AFTER_MAX)
}

#[cfg(test)]
mod tests;
