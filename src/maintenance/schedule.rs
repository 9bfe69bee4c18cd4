//! When a duty is due: after its period, or after a pause that doubles with each failure in a row.

use std::time::Duration;

use tokio::time::Instant;

/// The pause after the first failure.
const PAUSE_MIN: Duration = Duration::from_secs(2);
/// The longest pause after a failure.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// The next time of one duty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    next: Instant,
    pause: Duration,
}

impl Schedule {
    /// The duty is due at once.
    pub(super) fn new(now: Instant) -> Self {
        Self { next: now, pause: PAUSE_MIN }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next <= now
    }

    /// The duty was completed.
    pub(super) fn succeeded(&mut self, now: Instant, period: Duration) {
        *self = Self { next: now + period, pause: PAUSE_MIN };
    }

    /// The duty failed. Other duties run during its pause.
    pub(super) fn failed(&mut self, now: Instant) {
        *self = Self { next: now + self.pause, pause: (self.pause * 2).min(PAUSE_MAX) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_pause_of_a_failing_duty_doubles_up_to_five_minutes() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        assert!(schedule.is_due(now));
        for secs in [2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            schedule.failed(now);
            let due = now + Duration::from_secs(secs);
            assert!(schedule.is_due(due) && !schedule.is_due(due - Duration::from_millis(1)), "{secs} s");
        }
        schedule.succeeded(now, Duration::from_secs(60));
        assert!(!schedule.is_due(now + Duration::from_secs(59)));
        schedule.failed(now);
        assert!(schedule.is_due(now + PAUSE_MIN), "a success resets the pause");
    }
}
