//! The loop that writes outcomes: one statement for many jobs. A job that has another owner or version in the table
//! takes the slow path, a transaction of its own (docs/queue.md#fenced-record).

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::flush_schedule::FlushSchedule;
use super::pending_job::{EndedDevice, Fence};
use super::traced;
use super::{Disposition, OutcomeWriter};
use crate::domain::{Class, DeliveryStatus, Finding, JobId, LaneId};
use crate::queue::leases::JobLease;
use crate::store::record::{self, RecordBatch};
use crate::store::{self, Session, jobs};
use crate::telemetry::metrics::DropCause;

/// Pause after a write that failed; it doubles with each failure up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How often the writer looks for the last tickets once it was told to stop.
const STOP_POLL: Duration = Duration::from_millis(20);

pub(super) async fn run(writer: OutcomeWriter, stop: CancellationToken) {
    let mut schedule = FlushSchedule::default();
    let mut pause = PAUSE_MIN;
    let mut events = Vec::new();
    loop {
        writer.events.take(&mut events);
        let unrecordable = schedule.take_in(events.drain(..));
        writer.events.unrecorded.fetch_sub(unrecordable, Ordering::AcqRel);
        if stop.is_cancelled() && schedule.jobs.is_empty() && schedule.next_due().is_none() {
            return;
        }
        let due = schedule.take_due();
        if due.is_empty() {
            wait(&writer, &schedule, &stop).await;
            continue;
        }
        match flush(&writer, &mut schedule, &due).await {
            Ok(()) => pause = PAUSE_MIN,
            Err(error) => {
                let detail = "they are kept in memory and tried again";
                tracing::warn!(%error, jobs = due.len(), detail, "outcomes are not recorded");
                schedule.put_back(&due);
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Waits until something is reported or due. Once told to stop, it looks for the last tickets every [`STOP_POLL`].
async fn wait(writer: &OutcomeWriter, schedule: &FlushSchedule, stop: &CancellationToken) {
    let due = schedule.next_due();
    if stop.is_cancelled() {
        let poll = Instant::now() + STOP_POLL;
        tokio::select! {
            () = writer.events.is_filled.notified() => {}
            () = sleep_until(due.map_or(poll, |due| due.min(poll))) => {}
        }
        return;
    }
    let timer = async {
        match due {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = writer.events.is_filled.notified() => {}
        () = timer => {}
        () = stop.cancelled() => {}
    }
}

/// Records what waits of these jobs, and releases those that have ended with devices left. Each step is noted in the
/// schedule at once, so a failure half-way loses and repeats nothing.
async fn flush(
    writer: &OutcomeWriter,
    schedule: &mut FlushSchedule,
    due: &[JobLease],
) -> Result<(), store::Error> {
    // If a newer lease of a job is due too, the earlier one takes the slow path, because a statement names a job once.
    let is_claimed_again = |lease: &JobLease| {
        let next = due.partition_point(|other| other <= lease);
        due.get(next).is_some_and(|other| other.job == lease.job)
    };
    let (fast, slow): (Vec<JobLease>, Vec<JobLease>) = due.iter().copied().partition(|lease| {
        schedule.jobs.get(lease).is_some_and(|job| !job.is_lost) && !is_claimed_again(lease)
    });
    let mut missed = record_all(writer, schedule, &fast).await?;
    missed.extend(slow);
    for lease in missed {
        match record_slowly(writer, schedule, lease).await {
            Err(error) if error.is_poison() => drop_provider_text(schedule, lease, &error),
            Err(error) => {
                mark_in_doubt(schedule, &[lease], &error);
                return Err(error);
            }
            Ok(()) => {}
        }
    }
    release_ended(writer, schedule, due).await
}

/// Records jobs in one statement. A poisoned value is found by halving. Returns the jobs that had another owner or
/// version.
async fn record_all(
    writer: &OutcomeWriter,
    schedule: &mut FlushSchedule,
    leases: &[JobLease],
) -> Result<Vec<JobLease>, store::Error> {
    let mut missed = Vec::new();
    let mut parts = vec![leases];
    while let Some(part) = parts.pop() {
        let mut batch = RecordBatch::default();
        for lease in part {
            if let Some(job) = schedule.jobs.get_mut(lease).filter(|job| !job.unrecorded.is_empty()) {
                job.unrecorded.sort_unstable_by_key(|ended| ended.index);
                let ended: Vec<&EndedDevice> = job.unrecorded.iter().collect();
                job.write(&mut batch, job.fence(), &job.recorded, &ended);
            }
        }
        if batch.is_empty() {
            continue;
        }
        let mut conn = writer.pool.acquire().await.map_err(store::Error::from)?;
        match record_measured(writer, &mut conn, &batch).await {
            Ok(owned) => {
                let owned: HashSet<JobId> = owned.into_iter().collect();
                for lease in part {
                    if owned.contains(&lease.job) {
                        if let Some(job) = schedule.jobs.get(lease) {
                            traced::settled(writer, job, owned.len());
                        }
                        note_recorded(writer, schedule, *lease);
                    } else if schedule.jobs.get(lease).is_some_and(|job| !job.unrecorded.is_empty()) {
                        missed.push(*lease);
                    }
                }
            }
            Err(error) if error.is_poison() && part.len() > 1 => {
                let (left, right) = part.split_at(part.len() / 2);
                parts.extend([right, left]);
            }
            Err(error) if error.is_poison() => drop_provider_text(schedule, part[0], &error),
            Err(error) => {
                mark_in_doubt(schedule, part, &error);
                return Err(error);
            }
        }
    }
    Ok(missed)
}

/// Runs one record statement, and measures its time.
async fn record_measured(
    writer: &OutcomeWriter,
    conn: &mut Session,
    batch: &RecordBatch,
) -> Result<Vec<JobId>, store::Error> {
    let began = Instant::now();
    let owned = record::record(conn, batch).await;
    writer.metrics.record.record_seconds.observe(began.elapsed());
    owned
}

/// Notes which outcomes may be on record although their statement failed: its answer was lost.
fn mark_in_doubt(schedule: &mut FlushSchedule, leases: &[JobLease], error: &store::Error) {
    if !error.is_lost_answer() {
        return;
    }
    for lease in leases {
        if let Some(job) = schedule.jobs.get_mut(lease) {
            job.unrecorded.iter_mut().for_each(|ended| ended.is_in_doubt = true);
        }
    }
}

/// Counts outcomes that are not recorded because the devices have one already. If the answer to a statement of this node was
/// lost, what the statement recorded is counted now.
fn count_dropped<'e>(writer: &OutcomeWriter, lane: LaneId, dropped: impl Iterator<Item = &'e EndedDevice>) {
    for ended in dropped {
        if !ended.is_in_doubt {
            writer.metrics.record.dropped(DropCause::Late).inc();
            continue;
        }
        writer.metrics.record.dropped(DropCause::Replayed).inc();
        if let Disposition::Final { status, .. } = &ended.disposition {
            writer.pool.count_delivery(lane, *status, 1);
        }
    }
}

/// The outcomes of a poisoned job are recorded without what the provider wrote. If even that can't be stored, they are
/// kept and tried again now and then: the job stays leased to this node, so it is not sent again.
fn drop_provider_text(schedule: &mut FlushSchedule, lease: JobLease, error: &store::Error) {
    let detail = "the provider's text is dropped";
    tracing::error!(%error, job = lease.job.0, detail, "outcome is not storable");
    let Some(job) = schedule.jobs.get_mut(&lease) else { return };
    let mut has_changed = false;
    for ended in &mut job.unrecorded {
        let plain = ended.disposition.without_provider_text();
        has_changed |= plain != ended.disposition;
        ended.disposition = plain;
    }
    if has_changed {
        schedule.put_back(&[lease]);
    } else {
        schedule.set_aside(lease);
    }
}

/// Notes that the waiting outcomes of a job are recorded, and passes on what follows from them.
fn note_recorded(writer: &OutcomeWriter, schedule: &mut FlushSchedule, lease: JobLease) {
    let Some(job) = schedule.jobs.get_mut(&lease) else { return };
    let ended = std::mem::take(&mut job.unrecorded);
    writer.events.unrecorded.fetch_sub(ended.len(), Ordering::AcqRel);
    for e in &ended {
        job.recorded.set(e.index, true);
    }
    job.version += 1;
    let is_finished = job.recorded.all();
    follow_up(writer, schedule, lease, ended);
    if is_finished {
        traced::end_job(writer, schedule, lease);
        writer.events.leases.remove(lease);
    }
}

/// Wakes lanes for retry jobs that are due at once, and sends findings about tokens, which must come after the
/// receipts.
fn follow_up(writer: &OutcomeWriter, schedule: &FlushSchedule, lease: JobLease, ended: Vec<EndedDevice>) {
    let Some(job) = schedule.jobs.get(&lease).map(|job| &job.leased_job.job) else { return };
    let mut findings: Vec<Finding> = Vec::new();
    for e in ended {
        if let Some(lane) = due_at_once(&e.disposition, job.lane) {
            writer.notifier.notify_waiting(lane, Class::Retry, job.priority);
        }
        findings.extend(e.finding.map(|finding| *finding));
    }
    if !findings.is_empty()
        && let Err(error) = writer.findings.try_send(findings)
    {
        let detail = "the next attempt finds them again";
        tracing::warn!(%error, detail, "findings about tokens are dropped");
    }
}

/// The lane in which a device that goes on is due already.
fn due_at_once(disposition: &Disposition, own: LaneId) -> Option<LaneId> {
    match disposition {
        Disposition::Retry { lane, delay, .. } if delay.is_zero() => Some(lane.unwrap_or(own)),
        Disposition::EnvironmentProbe { lane, .. } => Some(*lane),
        _ => None,
    }
}

/// The slow path, in one transaction: locks the job and reads it. Then it records the final outcomes of devices that
/// have none, under the present owner and version. Other outcomes are recorded only while the lease is still ours. The
/// first final outcome of a device stands.
async fn record_slowly(
    writer: &OutcomeWriter,
    schedule: &mut FlushSchedule,
    lease: JobLease,
) -> Result<(), store::Error> {
    let Some(job) = schedule.jobs.get_mut(&lease) else { return Ok(()) };
    job.unrecorded.sort_unstable_by_key(|ended| ended.index);
    let mut conn = writer.pool.acquire().await.map_err(store::Error::from)?;
    let mut tx = conn.begin().await.map_err(store::Error::from)?;
    let present = record::lock(&mut tx, &[lease.job]).await?.pop();
    let present = present.filter(|present| present.notification == job.leased_job.job.notification);
    let Some(present) = present else {
        drop(tx);
        drop_outcomes(writer, schedule, lease);
        return Ok(());
    };
    let is_ours = present.node == Some(job.leased_job.node);
    let mut recorded =
        present.done.unwrap_or_else(|| bit_vec::BitVec::from_elem(present.device_count, false));
    let new: Vec<&EndedDevice> = job
        .unrecorded
        .iter()
        .filter(|e| recorded.get(e.index) == Some(false))
        .filter(|e| is_ours || is_final(&e.disposition))
        .collect();
    let has_new = !new.is_empty();
    if has_new {
        let mut batch = RecordBatch::default();
        let fence = Fence { node: present.node, version: present.version };
        job.write(&mut batch, fence, &recorded, &new);
        record_measured(writer, &mut tx, &batch).await?;
    }
    // Both are in the order of the job.
    let is_new = |ended: &EndedDevice| new.binary_search_by_key(&ended.index, |new| new.index).is_ok();
    let dropped: Vec<usize> = job.unrecorded.iter().filter(|e| !is_new(e)).map(|e| e.index).collect();
    for e in &new {
        recorded.set(e.index, true);
    }
    tx.commit().await.map_err(store::Error::from)?;
    job.version = present.version + i32::from(has_new);
    job.recorded = recorded;
    job.is_lost = !is_ours || job.recorded.all();
    let (is_lost, has_ended) = (job.is_lost, job.has_ended());
    let ended = std::mem::take(&mut job.unrecorded);
    let lane = job.leased_job.job.lane;
    if has_new {
        traced::settled(writer, job, 1);
    }
    count_dropped(writer, lane, ended.iter().filter(|e| dropped.binary_search(&e.index).is_ok()));
    writer.events.unrecorded.fetch_sub(ended.len(), Ordering::AcqRel);
    follow_up(writer, schedule, lease, ended);
    if is_lost {
        writer.events.leases.remove(lease);
        if has_ended {
            traced::end_job(writer, schedule, lease);
        }
    }
    Ok(())
}

/// Drops the outcomes of a job that is no longer in the table: all its devices are recorded already.
fn drop_outcomes(writer: &OutcomeWriter, schedule: &mut FlushSchedule, lease: JobLease) {
    let Some(job) = schedule.jobs.get_mut(&lease) else { return };
    let dropped = job.unrecorded.len();
    if dropped > 0 {
        tracing::info!(
            job = lease.job.0,
            outcomes = dropped,
            detail = "the job is recorded already",
            "late outcomes are dropped"
        );
    }
    writer.events.unrecorded.fetch_sub(dropped, Ordering::AcqRel);
    count_dropped(writer, job.leased_job.job.lane, job.unrecorded.iter());
    job.unrecorded.clear();
    job.is_lost = true;
    if job.has_ended() {
        traced::end_job(writer, schedule, lease);
    }
    writer.events.leases.remove(lease);
}

fn is_final(disposition: &Disposition) -> bool {
    matches!(disposition, Disposition::Final { status, .. } if *status != DeliveryStatus::Pending)
}

/// Releases the jobs that have ended and still have devices.
async fn release_ended(
    writer: &OutcomeWriter,
    schedule: &mut FlushSchedule,
    due: &[JobLease],
) -> Result<(), store::Error> {
    let ended: Vec<JobLease> = due
        .iter()
        .copied()
        .filter(|lease| {
            schedule.jobs.get(lease).is_some_and(|job| job.has_ended() && job.unrecorded.is_empty())
        })
        .collect();
    let Some(first) = ended.first().and_then(|lease| schedule.jobs.get(lease)) else { return Ok(()) };
    // One statement releases the jobs of one node id. Those leased under another one come next.
    let node = first.leased_job.node;
    let (same_node, others): (Vec<JobLease>, Vec<JobLease>) = ended
        .into_iter()
        .partition(|lease| schedule.jobs.get(lease).is_some_and(|job| job.leased_job.node == node));
    let versions: Vec<(JobId, i32)> = same_node
        .iter()
        .filter_map(|lease| schedule.jobs.get(lease).map(|job| (lease.job, job.version)))
        .collect();
    let mut conn = writer.pool.acquire().await.map_err(store::Error::from)?;
    jobs::release(&mut conn, node, &versions).await?;
    for lease in same_node {
        if let Some(released) = traced::end_job(writer, schedule, lease) {
            let job = &released.leased_job.job;
            writer.notifier.notify_released(job.lane, job.class, job.priority);
        }
        writer.events.leases.remove(lease);
    }
    schedule.put_back(&others);
    Ok(())
}
