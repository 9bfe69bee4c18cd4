//! When a duty is due: after its period, or after a pause that doubles with each failure in a row.

use std::time::Duration;

use tokio::time::Instant;

/// After the first failure, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));

/// One duty's next time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    next: Instant,
    pause: Duration,
}

impl Schedule {
    /// Due at once.
    pub(super) fn new(now: Instant) -> Self {
        Self { next: now, pause: PAUSES.0 }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next <= now
    }

    /// The duty came to its end.
    pub(super) fn done(&mut self, now: Instant, period: Duration) {
        *self = Self { next: now + period, pause: PAUSES.0 };
    }

    /// The duty failed. Other duties are done meanwhile.
    pub(super) fn failed(&mut self, now: Instant) {
        *self = Self { next: now + self.pause, pause: (self.pause * 2).min(PAUSES.1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_duty_that_keeps_failing_leaves_more_and_more_time_to_others() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        assert!(schedule.is_due(now));
        for secs in [2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            schedule.failed(now);
            let due = now + Duration::from_secs(secs);
            assert!(schedule.is_due(due) && !schedule.is_due(due - Duration::from_millis(1)), "{secs} s");
        }
        schedule.done(now, Duration::from_secs(60));
        assert!(!schedule.is_due(now + Duration::from_secs(59)));
        schedule.failed(now);
        assert!(schedule.is_due(now + PAUSES.0), "a success counts");
    }
}
