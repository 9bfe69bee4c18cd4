//! The Apple or web key that is stored at Firebase is wrong. FCM says so device by device; it holds back the devices
//! concerned and nobody else (docs/providers.md#fcm-errors), and costs them nothing but time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::{Reason, RetryPolicy};

/// An operator is told so often.
const TELL_EVERY: Duration = Duration::from_secs(300);

/// What one lane has told of it.
#[derive(Debug, Default)]
pub(super) struct FcmApnsKey {
    told: Mutex<Option<Instant>>,
}

impl FcmApnsKey {
    /// FCM could not send to a device for the sake of the stored key.
    pub(super) fn refused(&self, lane: &str, why: &Reason) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return;
        }
        *told = Some(Instant::now());
        tracing::error!(
            lane,
            reason = why.as_str(),
            "the Apple or web push key in the Firebase project of lane {lane} is wrong: its Apple and web devices wait \
             until it is corrected in the Firebase console. Android devices go on"
        );
    }
}

/// Least wait before the next try of a device whose notification is so old: it grows with the wait so far, since such
/// tries count as no attempts.
pub(super) fn floor(retry: RetryPolicy, age: Duration) -> Duration {
    (age / 4).clamp(retry.throttled, retry.max.max(retry.throttled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_with_what_has_been_waited() {
        let secs = Duration::from_secs;
        let retry = RetryPolicy { initial: secs(10), throttled: secs(60), max: secs(900) };
        let waits = [0, 60, 600, 3_000, 86_400].map(|age| floor(retry, secs(age)).as_secs());
        assert_eq!(waits, [60, 60, 150, 750, 900]);
        assert_eq!(floor(RetryPolicy { throttled: secs(2_000), ..retry }, secs(0)), secs(2_000));
    }
}
