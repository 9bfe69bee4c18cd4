//! The loop that writes: one statement for many jobs; what the table no longer knows as ours takes the slow path.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::flush_schedule::FlushSchedule;
use super::pending_job::{Ended, Fence};
use super::{Disposition, Writer};
use crate::domain::{Class, DeliveryStatus, Finding, JobId, LaneId};
use crate::queue::leases::JobLease;
use crate::store::record::{self, RecordBatch};
use crate::store::{self, jobs};

/// First pause after Postgres was out of reach; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const LAST_POLL: Duration = Duration::from_millis(20);

pub(super) async fn run(writer: Writer, stop: CancellationToken) {
    let mut schedule = FlushSchedule::default();
    let mut pause = FIRST_PAUSE;
    let mut events = Vec::new();
    loop {
        writer.shared.take(&mut events);
        let back = schedule.apply(events.drain(..));
        writer.shared.unrecorded.fetch_sub(back, Ordering::AcqRel);
        if stop.is_cancelled() && schedule.open.is_empty() && schedule.next_due().is_none() {
            return;
        }
        let due = schedule.take_due();
        if due.is_empty() {
            wait(&writer, &schedule, &stop).await;
            continue;
        }
        match flush(&writer, &mut schedule, &due).await {
            Ok(()) => pause = FIRST_PAUSE,
            Err(error) => {
                tracing::warn!(%error, jobs = due.len(), "outcomes not on record yet; kept and tried again");
                schedule.put_back(&due);
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Until something is reported or due. Once told to stop, a slow poll for the last tickets.
async fn wait(writer: &Writer, schedule: &FlushSchedule, stop: &CancellationToken) {
    let due = schedule.next_due();
    if stop.is_cancelled() {
        let poll = Instant::now() + LAST_POLL;
        tokio::select! {
            () = writer.shared.some.notified() => {}
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
        () = writer.shared.some.notified() => {}
        () = timer => {}
        () = stop.cancelled() => {}
    }
}

/// Writes what waits of these jobs, and gives back those that are over with devices left. Everything that it did is
/// noted in the schedule at once, so a failure half-way loses and repeats nothing.
async fn flush(writer: &Writer, schedule: &mut FlushSchedule, due: &[JobLease]) -> Result<(), store::Error> {
    // A job that was taken again is no longer ours under its earlier taking, and stands in a statement once.
    let taken_again = |id: &JobLease| {
        let next = due.partition_point(|other| other <= id);
        due.get(next).is_some_and(|other| other.job == id.job)
    };
    let (fast, slow): (Vec<JobLease>, Vec<JobLease>) = due
        .iter()
        .copied()
        .partition(|id| schedule.open.get(id).is_some_and(|job| !job.lost) && !taken_again(id));
    let mut missed = write_fast(writer, schedule, &fast).await?;
    missed.extend(slow);
    for id in missed {
        match write_slowly(writer, schedule, id).await {
            Err(error) if error.is_poison() => drop_words(schedule, id, &error),
            written => written?,
        }
    }
    give_back(writer, schedule, due).await
}

/// One statement for all; a poisoned value is found by halving. Returns the jobs that were not as we knew them.
async fn write_fast(
    writer: &Writer,
    schedule: &mut FlushSchedule,
    ids: &[JobLease],
) -> Result<Vec<JobLease>, store::Error> {
    let mut missed = Vec::new();
    let mut parts = vec![ids];
    while let Some(part) = parts.pop() {
        let mut batch = RecordBatch::default();
        for id in part {
            if let Some(job) = schedule.open.get_mut(id).filter(|job| !job.waiting.is_empty()) {
                job.waiting.sort_unstable_by_key(|ended| ended.index);
                let ended: Vec<&Ended> = job.waiting.iter().collect();
                job.write(&mut batch, job.fence(), &job.recorded, &ended);
            }
        }
        if batch.is_empty() {
            continue;
        }
        let mut conn = writer.pool.acquire().await.map_err(store::Error::from)?;
        match record::record(&mut conn, &batch).await {
            Ok(ours) => {
                let ours: HashSet<JobId> = ours.into_iter().collect();
                for id in part {
                    if ours.contains(&id.job) {
                        recorded(writer, schedule, *id);
                    } else if schedule.open.get(id).is_some_and(|job| !job.waiting.is_empty()) {
                        missed.push(*id);
                    }
                }
            }
            Err(error) if error.is_poison() && part.len() > 1 => {
                let (left, right) = part.split_at(part.len() / 2);
                parts.extend([right, left]);
            }
            Err(error) if error.is_poison() => drop_words(schedule, part[0], &error),
            Err(error) => return Err(error),
        }
    }
    Ok(missed)
}

/// The culprit stands alone: its outcome is recorded without what the provider wrote. If even that can't be stored, it
/// is kept and tried again now and then: the job stays ours, so nobody sends it again.
fn drop_words(schedule: &mut FlushSchedule, id: JobLease, error: &store::Error) {
    tracing::error!(%error, job = id.job.0, "an outcome can't be stored as the provider worded it");
    let Some(job) = schedule.open.get_mut(&id) else { return };
    let mut changed = false;
    for ended in &mut job.waiting {
        let plain = ended.ending.without_words();
        changed |= plain != ended.ending;
        ended.ending = plain;
    }
    if changed {
        schedule.put_back(&[id]);
    } else {
        schedule.put_aside(id);
    }
}

/// What waited of a job is on record: notes it, and passes on what follows from it.
fn recorded(writer: &Writer, schedule: &mut FlushSchedule, id: JobLease) {
    let Some(job) = schedule.open.get_mut(&id) else { return };
    let ended = std::mem::take(&mut job.waiting);
    writer.shared.unrecorded.fetch_sub(ended.len(), Ordering::AcqRel);
    for e in &ended {
        job.recorded.set(e.index, true);
    }
    job.version += 1;
    let finished = job.recorded.all();
    follow_up(writer, schedule, id, ended);
    if finished {
        schedule.open.remove(&id);
        writer.shared.leases.let_go(id);
    }
}

/// Retry jobs may be due at once; what was found about tokens comes after the receipts.
fn follow_up(writer: &Writer, schedule: &FlushSchedule, id: JobLease, ended: Vec<Ended>) {
    let Some(job) = schedule.open.get(&id) else { return };
    let mut findings: Vec<Finding> = Vec::new();
    for e in ended {
        if let Some(lane) = due_at_once(&e.ending, job.held.job.lane) {
            writer.notifier.notify_waiting(lane, Class::Retry, job.held.job.priority);
        }
        findings.extend(e.finding.map(|finding| *finding));
    }
    if !findings.is_empty()
        && let Err(error) = writer.findings.try_send(findings)
    {
        tracing::warn!(%error, "what was found about tokens was dropped; the next attempt finds it again");
    }
}

/// The lane in which a device that goes on is due already.
fn due_at_once(ending: &Disposition, own: LaneId) -> Option<LaneId> {
    match ending {
        Disposition::Retry { lane, delay, .. } if delay.is_zero() => Some(lane.unwrap_or(own)),
        Disposition::EnvironmentProbe { lane, .. } => Some(*lane),
        _ => None,
    }
}

/// In one transaction: looks at the job under its lock, then records the final outcomes of devices whose bit is clear,
/// under the present owner and version. Others only while the lease is still ours. The first final outcome wins.
async fn write_slowly(
    writer: &Writer,
    schedule: &mut FlushSchedule,
    id: JobLease,
) -> Result<(), store::Error> {
    let Some(job) = schedule.open.get_mut(&id) else { return Ok(()) };
    job.waiting.sort_unstable_by_key(|ended| ended.index);
    let mut conn = writer.pool.acquire().await.map_err(store::Error::from)?;
    let mut tx = conn.begin().await.map_err(store::Error::from)?;
    let present = record::look(&mut tx, &[id.job]).await?.pop();
    let present = present.filter(|present| present.notification == job.held.job.notification);
    let Some(present) = present else {
        drop(tx);
        let dropped = job.waiting.len();
        if dropped > 0 {
            tracing::info!(
                job = id.job.0,
                outcomes = dropped,
                "outcomes of a job that is on record already: dropped"
            );
        }
        writer.shared.unrecorded.fetch_sub(dropped, Ordering::AcqRel);
        job.waiting.clear();
        job.lost = true;
        if job.is_over() {
            schedule.open.remove(&id);
        }
        writer.shared.leases.let_go(id);
        return Ok(());
    };
    let ours = present.node == Some(job.held.node);
    let table = present.done.unwrap_or_else(|| bit_vec::BitVec::from_elem(present.device_count, false));
    let news: Vec<&Ended> = job
        .waiting
        .iter()
        .filter(|e| table.get(e.index) == Some(false))
        .filter(|e| ours || is_final(&e.ending))
        .collect();
    let wrote = !news.is_empty();
    if wrote {
        let mut batch = RecordBatch::default();
        let fence = Fence { node: present.node, version: present.version };
        job.write(&mut batch, fence, &table, &news);
        record::record(&mut tx, &batch).await?;
    }
    let mut now_recorded = table;
    for e in &news {
        now_recorded.set(e.index, true);
    }
    tx.commit().await.map_err(store::Error::from)?;
    job.version = present.version + i32::from(wrote);
    job.recorded = now_recorded;
    job.lost = !ours || job.recorded.all();
    let (lost, over) = (job.lost, job.is_over());
    let ended = std::mem::take(&mut job.waiting);
    writer.shared.unrecorded.fetch_sub(ended.len(), Ordering::AcqRel);
    follow_up(writer, schedule, id, ended);
    if lost {
        writer.shared.leases.let_go(id);
        if over {
            schedule.open.remove(&id);
        }
    }
    Ok(())
}

fn is_final(ending: &Disposition) -> bool {
    matches!(ending, Disposition::Final { status, .. } if *status != DeliveryStatus::Pending)
}

/// Releases the jobs that are over and still have devices, as they were.
async fn give_back(
    writer: &Writer,
    schedule: &mut FlushSchedule,
    due: &[JobLease],
) -> Result<(), store::Error> {
    let over: Vec<JobLease> = due
        .iter()
        .copied()
        .filter(|id| schedule.open.get(id).is_some_and(|job| job.is_over() && job.waiting.is_empty()))
        .collect();
    let Some(first) = over.first().and_then(|id| schedule.open.get(id)) else { return Ok(()) };
    let lease = first.held.node;
    let (under_it, others): (Vec<JobLease>, Vec<JobLease>) =
        over.into_iter().partition(|id| schedule.open.get(id).is_some_and(|job| job.held.node == lease));
    let versions: Vec<(JobId, i32)> =
        under_it.iter().filter_map(|id| schedule.open.get(id).map(|job| (id.job, job.version))).collect();
    let mut conn = writer.pool.acquire().await.map_err(store::Error::from)?;
    jobs::release(&mut conn, lease, &versions).await?;
    for id in under_it {
        if let Some(open) = schedule.open.remove(&id) {
            let job = &open.held.job;
            writer.notifier.notify_released(job.lane, job.class, job.priority);
        }
        writer.shared.leases.let_go(id);
    }
    schedule.put_back(&others);
    Ok(())
}
