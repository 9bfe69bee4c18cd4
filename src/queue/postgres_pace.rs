//! Whether Postgres answers slowly. A statement that waits for the disk or the network takes part in every push: the acceptance,
//! the claim and the record. Nothing fails then, so nothing else tells an operator.

use std::time::Duration;

/// A heartbeat changes one row, which takes a few milliseconds. Four such waits are the way of a push.
const SLOW: Duration = Duration::from_millis(100);
/// Heartbeats in a row that decide: one alone may have met a checkpoint.
const RUN: u32 = 3;

/// The times of the heartbeats.
#[derive(Debug, Default)]
pub(super) struct PostgresPace {
    is_slow: bool,
    /// Heartbeats in a row that say the contrary.
    contrary: u32,
}

impl PostgresPace {
    /// Takes the time of a heartbeat, and logs a change.
    pub(super) fn note(&mut self, took: Duration) {
        if !self.has_changed(took) {
            return;
        }
        let heartbeat_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if self.is_slow {
            let detail = "each push waits for several statements";
            let hint = "find the disk, the lock or the network that is slow: docs/runbook.md#postgres-slow";
            tracing::warn!(heartbeat_ms, detail, hint, "Postgres answers slowly");
        } else {
            tracing::info!(heartbeat_ms, "Postgres answers in time again");
        }
    }

    fn has_changed(&mut self, took: Duration) -> bool {
        if (took >= SLOW) == self.is_slow {
            self.contrary = 0;
            return false;
        }
        self.contrary += 1;
        if self.contrary < RUN {
            return false;
        }
        (self.is_slow, self.contrary) = (!self.is_slow, 0);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_of_slow_or_of_fast_heartbeats_is_a_change() {
        let mut pace = PostgresPace::default();
        let mut changes = |times: &[u64]| -> Vec<bool> {
            times.iter().map(|ms| pace.has_changed(Duration::from_millis(*ms))).collect()
        };
        assert_eq!(changes(&[500, 500, 5, 500, 500]), [false; 5], "a checkpoint is no slow Postgres");
        assert_eq!(changes(&[100, 100, 5]), [true, false, false]);
        assert_eq!(changes(&[500, 5, 5, 5]), [false, false, false, true]);
        assert_eq!(changes(&[100, 100, 100]), [false, false, true]);
    }
}
