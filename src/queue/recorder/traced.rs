//! The spans of jobs, and of the wait for their record.

use tokio::time::Instant;

use super::OutcomeWriter;
use super::flush_schedule::FlushSchedule;
use super::pending_job::PendingJob;
use crate::queue::leases::JobLease;
use crate::telemetry::trace::{JobSpan, SettleSpan};

/// Outcomes of a job are on record. `batch`: how many jobs shared the COMMIT.
pub(super) fn settled(writer: &OutcomeWriter, job: &PendingJob, batch: usize) {
    if let (Some(trace), Some(began)) = (&job.leased_job.trace, job.last_ended) {
        writer.tracer.write_in(Some(trace.context()), |_| SettleSpan {
            trace,
            batch,
            began,
            ended: Instant::now(),
        });
    }
}

/// Removes a job that this node has ended with: all its devices are on record, or it was given back or lost.
pub(super) fn end_job(
    writer: &OutcomeWriter,
    schedule: &mut FlushSchedule,
    lease: JobLease,
) -> Option<PendingJob> {
    let ended = schedule.jobs.remove(&lease)?;
    let leased = &ended.leased_job;
    if let Some(trace) = &leased.trace {
        writer.tracer.write_in(Some(trace.context()), |_| JobSpan {
            trace,
            job: &leased.job,
            node: leased.node,
            ended: Instant::now(),
        });
    }
    Some(ended)
}
