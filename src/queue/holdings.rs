//! Which jobs this node has in its hands, so that what the table says it holds can be compared (QUEUE.md 3).

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::domain::JobId;

/// The jobs in this node's hands.
#[derive(Debug, Default)]
pub struct Holdings {
    jobs: Mutex<HashSet<JobId>>,
}

impl Holdings {
    /// Took a job.
    pub fn take(&self, job: JobId) {
        self.lock().insert(job);
    }

    /// Let go of a job: recorded, released, or lost.
    pub fn let_go(&self, job: JobId) {
        self.lock().remove(&job);
    }

    /// Is it in hand?
    pub fn has(&self, job: JobId) -> bool {
        self.lock().contains(&job)
    }

    /// How many are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<JobId>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
