//! The state of a connection: whether it takes new streams, and whether its driver must end it.

use std::sync::atomic::{AtomicU8, Ordering};

/// Where a connection is between its opening and its end. A later state never goes back to an earlier one, except that
/// an answer makes a suspect connection open again.
///
/// ```text
/// Open ⇄ Suspect → Draining → Killed → Ended
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(super) enum ConnectionState {
    /// The connection takes streams.
    Open,
    /// A PING is unanswered, so new streams must wait.
    Suspect,
    /// The connection takes no new streams. Those in flight may finish.
    Draining,
    /// The driver must drop the connection at once.
    Killed,
    /// The driver has ended.
    Ended,
}

impl ConnectionState {
    const ALL: [Self; 5] = [Self::Open, Self::Suspect, Self::Draining, Self::Killed, Self::Ended];

    /// Whether the connection takes no new streams, now or later.
    pub(super) fn is_draining(self) -> bool {
        self >= Self::Draining
    }
}

/// A [`ConnectionState`] that threads share.
#[derive(Debug)]
pub(super) struct SharedConnectionState(AtomicU8);

impl SharedConnectionState {
    /// Begins in the state [`ConnectionState::Open`].
    pub(super) fn open() -> Self {
        Self(AtomicU8::new(ConnectionState::Open as u8))
    }

    pub(super) fn get(&self) -> ConnectionState {
        ConnectionState::ALL[usize::from(self.0.load(Ordering::Acquire))]
    }

    /// Goes on to `state`, unless a later one is reached already.
    pub(super) fn advance(&self, state: ConnectionState) {
        self.0.fetch_max(state as u8, Ordering::AcqRel);
    }

    /// From suspect back to open. Says whether the connection was suspect.
    pub(super) fn trust_again(&self) -> bool {
        self.get() == ConnectionState::Suspect
            && self
                .0
                .compare_exchange(
                    ConnectionState::Suspect as u8,
                    ConnectionState::Open as u8,
                    Ordering::AcqRel,
                    Ordering::Acquire,
                )
                .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::ConnectionState::{Draining, Ended, Killed, Open, Suspect};
    use super::*;

    fn in_state(state: ConnectionState) -> SharedConnectionState {
        let shared = SharedConnectionState::open();
        shared.advance(state);
        shared
    }

    #[test]
    fn a_state_only_advances() {
        for from in ConnectionState::ALL {
            for to in ConnectionState::ALL {
                let shared = in_state(from);
                shared.advance(to);
                assert_eq!(shared.get(), from.max(to), "{from:?} → {to:?}");
            }
        }
    }

    #[test]
    fn only_a_suspect_connection_is_trusted_again() {
        for (from, trusted, then) in [
            (Open, false, Open),
            (Suspect, true, Open),
            (Draining, false, Draining),
            (Killed, false, Killed),
            (Ended, false, Ended),
        ] {
            let shared = in_state(from);
            assert_eq!((shared.trust_again(), shared.get()), (trusted, then), "{from:?}");
        }
    }

    #[test]
    fn no_streams_are_taken_from_draining_on() {
        let draining: Vec<_> = ConnectionState::ALL.into_iter().filter(|state| state.is_draining()).collect();
        assert_eq!(draining, [Draining, Killed, Ended]);
    }
}
