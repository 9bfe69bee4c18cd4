//! The Apple or web key that is stored at Firebase is wrong. FCM says so device by device: only Apple and web devices wait
//! until the key is corrected, and the attempts meanwhile do not count (docs/providers.md#fcm-errors).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{Reason, RetryPolicy};

/// Time between two log lines of a lane about it: enough for an operator to see that it goes on.
const LOG_INTERVAL: Duration = Duration::from_secs(300);

/// What one lane has logged about the stored key.
#[derive(Debug, Default)]
pub(super) struct FcmApnsKey {
    logged_at: Mutex<Option<Instant>>,
}

impl FcmApnsKey {
    /// FCM could not send to a device because of the stored key.
    pub(super) fn report_refusal(&self, lane: &str, reason: &Reason) {
        let mut logged_at = self.logged_at.lock().unwrap_or_else(PoisonError::into_inner);
        if logged_at.is_some_and(|at| at.elapsed() < LOG_INTERVAL) {
            return;
        }
        *logged_at = Some(Instant::now());
        tracing::error!(
            lane,
            reason = reason.as_str(),
            detail = "Apple and web devices wait; Android devices go on",
            hint = "correct the key in the Firebase console",
            "Apple or web push key in the Firebase project is wrong"
        );
    }
}

/// Least wait before the next try of a device, by the age of its notification. The wait grows with the age, because such
/// tries do not count as attempts.
pub(super) fn retry_delay_min(retry: RetryPolicy, age: Duration) -> Duration {
    (age / 4).clamp(retry.throttled, retry.max.max(retry.throttled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_with_the_age_of_the_notification() {
        let secs = Duration::from_secs;
        let retry = RetryPolicy { initial: secs(10), throttled: secs(60), max: secs(900) };
        let waits = [0, 60, 600, 3_000, 86_400].map(|age| retry_delay_min(retry, secs(age)).as_secs());
        assert_eq!(waits, [60, 60, 150, 750, 900]);
        assert_eq!(retry_delay_min(RetryPolicy { throttled: secs(2_000), ..retry }, secs(0)), secs(2_000));
    }
}
