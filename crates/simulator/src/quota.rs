//! FCM's quota of a project: so many messages in a span of time (docs/providers.md#fcm-quotas).

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Counts the messages of a minute.
#[derive(Debug, Default)]
pub(super) struct Quota(Mutex<Count>);

#[derive(Debug, Default)]
struct Count {
    /// 0: no limit.
    messages: u64,
    per: Duration,
    began: Option<Instant>,
    taken: u64,
}

impl Quota {
    /// Another limit, counted anew.
    pub(super) fn set(&self, messages: u64, per: Duration) {
        *self.lock() = Count { messages, per, began: None, taken: 0 };
    }

    /// Counts a message, or says for how long there is room for none.
    pub(super) fn take(&self) -> Result<(), Duration> {
        let mut count = self.lock();
        if count.messages == 0 {
            return Ok(());
        }
        let passed = count.began.map(|began| began.elapsed()).filter(|passed| *passed < count.per);
        let Some(passed) = passed else {
            (count.began, count.taken) = (Some(Instant::now()), 1);
            return Ok(());
        };
        if count.taken >= count.messages {
            return Err(count.per - passed);
        }
        count.taken += 1;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Count> {
        self.0.lock().expect("no holder panics")
    }
}
