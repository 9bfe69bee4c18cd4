//! Limits a repeated event, such as a refused connection, to one log line per burst.

use std::time::Duration;

use tokio::time::Instant;

/// A burst ends when there is no event for this long.
const GAP: Duration = Duration::from_secs(60);

/// The bursts of one kind of event.
#[derive(Default, Debug)]
pub(super) struct LogBurst {
    last: Option<Instant>,
}

impl LogBurst {
    /// Notes an event. True for the first event of a burst, which is to be logged.
    pub(super) fn begins(&mut self) -> bool {
        let now = Instant::now();
        let last = self.last.replace(now);
        last.is_none_or(|last| now.duration_since(last) >= GAP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn burst_ends_after_a_minute_without_an_event() {
        let mut burst = LogBurst::default();
        let mut begins = Vec::new();
        for pause in [0, 1, 59, 59, 60, 0] {
            tokio::time::advance(Duration::from_secs(pause)).await;
            begins.push(burst.begins());
        }
        assert_eq!(begins, [true, false, false, false, true, false]);
    }
}
