//! The jobs that this node has in memory.
//!
//! The heartbeat compares them with the jobs that the table says are leased to this node (docs/queue.md#node-lease).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::JobId;

/// One lease of a job. A node that was declared dead while it was suspended may claim a job again while its own earlier
/// attempts are under way. The version rises with each claim, so it tells the two leases apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct JobLease {
    /// The leased job's number.
    pub job: JobId,
    /// The job's version after the claim.
    pub version: i32,
}

/// The jobs that this node has in memory, each with its latest lease.
#[derive(Debug, Default)]
pub struct Leases {
    jobs: Mutex<HashMap<JobId, i32>>,
}

impl Leases {
    /// Adds a lease, in place of an earlier one of the same job.
    pub fn add(&self, lease: JobLease) {
        self.lock().insert(lease.job, lease.version);
    }

    /// Removes a lease, once its job is recorded, released or lost. A later lease of the same job stays.
    pub fn remove(&self, lease: JobLease) {
        let mut jobs = self.lock();
        if jobs.get(&lease.job) == Some(&lease.version) {
            jobs.remove(&lease.job);
        }
    }

    /// True if this node has the job in memory, under any lease.
    pub fn has(&self, job: JobId) -> bool {
        self.lock().contains_key(&job)
    }

    /// Number of jobs in memory.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// True without any job in memory.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, i32>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
