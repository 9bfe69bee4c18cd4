//! Whether sessions write events, and what is told after their commit.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;

use super::{InTransaction, Session, SessionPool};

impl SessionPool {
    /// Has sessions of this pool and its siblings write no events. Called before the first of them connects.
    pub fn log_no_events(&self) {
        self.inner.shared.logs_events.store(false, Ordering::Release);
    }

    /// False after [`Self::log_no_events`].
    pub fn logs_events(&self) -> bool {
        self.inner.shared.logs_events.load(Ordering::Acquire)
    }

    /// Is notified after a commit of this pool, or of one of its siblings, that has written events.
    pub fn new_events(&self) -> Arc<Notify> {
        Arc::clone(&self.inner.shared.new_events)
    }
}

impl Session {
    /// False: the configuration keeps no events.
    pub fn logs_events(&self) -> bool {
        self.pool.shared.logs_events.load(Ordering::Acquire)
    }

    /// Notes that a statement of this session has written to the event log's outbox. The node's sequencer learns of it: at
    /// once, or after the commit of the present transaction.
    pub(in crate::store) fn note_events(&mut self) {
        match self.is_in_transaction() {
            InTransaction::No => self.pool.shared.new_events.notify_one(),
            InTransaction::Yes | InTransaction::Abandoned => self.has_uncommitted_events = true,
        }
    }
}
