//! Which jobs this node has in its hands, so that what the table says it holds can be compared
//! (docs/queue.md#node-lease).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::domain::JobId;

/// One taking of a job. A node that was called dead while it stood still may take a job again whose earlier attempts
/// are still out; the version at which it took it, higher with each claim, tells the two apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct JobLease {
    /// The job.
    pub job: JobId,
    /// Its version when it was taken.
    pub version: i32,
}

/// The jobs in this node's hands, each with its latest taking.
#[derive(Debug, Default)]
pub struct Leases {
    jobs: Mutex<HashMap<JobId, i32>>,
}

impl Leases {
    /// Took a job.
    pub fn take(&self, lease: JobLease) {
        self.lock().insert(lease.job, lease.version);
    }

    /// Let go of a job: recorded, released, or lost. Changes nothing where it was taken again since.
    pub fn let_go(&self, lease: JobLease) {
        let mut jobs = self.lock();
        if jobs.get(&lease.job) == Some(&lease.version) {
            jobs.remove(&lease.job);
        }
    }

    /// Is it in hand?
    pub fn has(&self, job: JobId) -> bool {
        self.lock().contains_key(&job)
    }

    /// How many are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, i32>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
