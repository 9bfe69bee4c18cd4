//! Waiting for a state, never for a time.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The longest time that a test waits for anything. Generous: the machine may be busy, and a test that passes does not
/// take this long.
pub const WAIT_MAX: Duration = Duration::from_secs(180);
/// How often a state is looked at.
pub const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// Waits until `condition` holds, at most [`WAIT_MAX`].
pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    until_some(what, async || condition().await.then_some(())).await;
}

/// Waits until `look` finds something, at most [`WAIT_MAX`].
pub async fn until_some<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < WAIT_MAX, "waited {} s in vain: {what}", WAIT_MAX.as_secs());
        sleep(POLL_INTERVAL).await;
    }
}
