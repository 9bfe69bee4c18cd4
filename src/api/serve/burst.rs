//! One log line for what happens many times in a row.

use std::time::Duration;

use tokio::time::Instant;

/// Events less than this apart belong to one burst.
const GAP: Duration = Duration::from_secs(60);

/// Events of one kind.
#[derive(Default, Debug)]
pub(super) struct LogBurst {
    last: Option<Instant>,
}

impl LogBurst {
    /// Notes an event; true for the first of a burst, which is the one to log.
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
    async fn a_burst_ends_with_a_minute_without_an_event() {
        let mut burst = LogBurst::default();
        let mut begins = Vec::new();
        for pause in [0, 1, 59, 59, 60, 0] {
            tokio::time::advance(Duration::from_secs(pause)).await;
            begins.push(burst.begins());
        }
        assert_eq!(begins, [true, false, false, false, true, false]);
    }
}
