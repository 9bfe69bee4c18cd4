//! Counts requests per client in fixed time windows: a client's window starts with its first request, and after `limit`
//! requests the client must wait for the end of the window. No timer is needed, and the memory is bounded.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Clients counted at the same time at most. Beyond that, clients with an ended window are removed, and if these are
/// fewer than half, all clients: an attacker with so many addresses can't be stopped by counting.
const CLIENTS_MAX: usize = 100_000;

/// The windows of all clients `K`, with one limit.
#[derive(Debug)]
pub(super) struct FixedWindows<K> {
    limit: u32,
    length: Duration,
    open: Mutex<HashMap<K, Window>>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    ends: Instant,
    taken: u32,
}

impl<K: Eq + Hash> FixedWindows<K> {
    /// Allows `limit` requests per client in each window of `length`.
    pub(super) fn new(limit: u32, length: Duration) -> Self {
        Self { limit, length, open: Mutex::default() }
    }

    /// Requests allowed in a window.
    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// Checks whether a request would be accepted, without counting it.
    ///
    /// # Errors
    /// The time until a request is accepted.
    pub(super) fn check(&self, client: &K, now: Instant) -> Result<(), Duration> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get(client) {
            Some(window) if window.ends > now && window.taken >= self.limit => Err(window.ends - now),
            _ => Ok(()),
        }
    }

    /// Counts a request. A refused one is not counted.
    ///
    /// # Errors
    /// The time until a request is accepted.
    pub(super) fn take(&self, client: K, now: Instant) -> Result<(), Duration> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= CLIENTS_MAX && !open.contains_key(&client) {
            open.retain(|_, window| window.ends > now);
            if open.len() > CLIENTS_MAX / 2 {
                open.clear();
            }
        }
        let fresh = Window { ends: now + self.length, taken: 0 };
        let window = open.entry(client).or_insert(fresh);
        if window.ends <= now {
            *window = fresh;
        }
        if window.taken >= self.limit {
            return Err(window.ends - now);
        }
        window.taken += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn limit_applies_per_window_and_client() {
        let (windows, start) = (FixedWindows::new(2, MINUTE), Instant::now());
        assert_eq!(windows.take("a", start), Ok(()));
        assert_eq!(windows.take("a", start + MINUTE / 4), Ok(()));
        for _ in 0..3 {
            assert_eq!(windows.take("a", start + MINUTE / 2), Err(MINUTE / 2));
        }
        assert_eq!(windows.check(&"a", start + MINUTE / 2), Err(MINUTE / 2));
        assert_eq!((windows.check(&"b", start), windows.check(&"a", start + MINUTE)), (Ok(()), Ok(())));
        assert_eq!(windows.take("b", start + MINUTE / 2), Ok(()));
        for _ in 0..2 {
            assert_eq!(windows.take("a", start + MINUTE), Ok(()));
        }
        assert_eq!(
            windows.take("a", start + MINUTE),
            Err(MINUTE),
            "the next window begins with the next request"
        );
    }

    #[test]
    fn memory_is_bounded_with_forged_clients() {
        let (windows, start) = (FixedWindows::new(1, MINUTE), Instant::now());
        for client in 0..2 * CLIENTS_MAX {
            assert_eq!(windows.take(client, start), Ok(()));
        }
        assert!(windows.open.lock().expect("no panic").len() <= CLIENTS_MAX);
        assert_eq!(windows.take(2 * CLIENTS_MAX - 1, start), Err(MINUTE), "the latest are counted");
    }

    #[test]
    fn ended_windows_are_removed_for_new_clients() {
        let (windows, start) = (FixedWindows::new(1, MINUTE), Instant::now());
        for client in 0..CLIENTS_MAX - 1 {
            assert_eq!(windows.take(client, start), Ok(()));
        }
        let later = start + MINUTE;
        assert_eq!(windows.take(CLIENTS_MAX, start + MINUTE / 2), Ok(()));
        assert_eq!(windows.take(CLIENTS_MAX + 1, later), Ok(()));
        assert_eq!(windows.open.lock().expect("no panic").len(), 2);
        assert_eq!(windows.take(CLIENTS_MAX, later), Err(MINUTE / 2));
    }
}
