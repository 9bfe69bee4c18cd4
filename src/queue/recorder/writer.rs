//! The loop that writes: one statement for many jobs; what the table no longer knows as ours takes the slow path.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::ledger::Ledger;
use super::open_job::{Ended, Fence};
use super::{Ending, Writer};
use crate::domain::{Class, DeliveryStatus, Finding, JobId, LaneId};
use crate::queue::holdings::Holding;
use crate::store::record::{self, Batch};
use crate::store::{self, jobs};

/// First pause after Postgres was out of reach; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const LAST_POLL: Duration = Duration::from_millis(20);

pub(super) async fn run(writer: Writer, stop: CancellationToken) {
    let mut ledger = Ledger::default();
    let mut pause = FIRST_PAUSE;
    let mut events = Vec::new();
    loop {
        writer.shared.take(&mut events);
        let back = ledger.apply(events.drain(..));
        writer.shared.unrecorded.fetch_sub(back, Ordering::AcqRel);
        if stop.is_cancelled() && ledger.open.is_empty() && ledger.next_due().is_none() {
            return;
        }
        let due = ledger.take_due();
        if due.is_empty() {
            wait(&writer, &ledger, &stop).await;
            continue;
        }
        match flush(&writer, &mut ledger, &due).await {
            Ok(()) => pause = FIRST_PAUSE,
            Err(error) => {
                tracing::warn!(%error, jobs = due.len(), "outcomes not on record yet; kept and tried again");
                ledger.put_back(&due);
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Until something is reported or due. Once told to stop, a slow poll for the last tickets.
async fn wait(writer: &Writer, ledger: &Ledger, stop: &CancellationToken) {
    let due = ledger.next_due();
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
/// noted in the ledger at once, so a failure half-way loses and repeats nothing.
async fn flush(writer: &Writer, ledger: &mut Ledger, due: &[Holding]) -> Result<(), store::Error> {
    // A job that was taken again is no longer ours under its earlier taking, and stands in a statement once.
    let taken_again = |id: &Holding| {
        let next = due.partition_point(|other| other <= id);
        due.get(next).is_some_and(|other| other.job == id.job)
    };
    let (fast, slow): (Vec<Holding>, Vec<Holding>) = due
        .iter()
        .copied()
        .partition(|id| ledger.open.get(id).is_some_and(|job| !job.lost) && !taken_again(id));
    let mut missed = write_fast(writer, ledger, &fast).await?;
    missed.extend(slow);
    for id in missed {
        match write_slowly(writer, ledger, id).await {
            Err(error) if error.is_poison() => drop_words(ledger, id, &error),
            written => written?,
        }
    }
    give_back(writer, ledger, due).await
}

/// One statement for all; a poisoned value is found by halving. Returns the jobs that were not as we knew them.
async fn write_fast(
    writer: &Writer,
    ledger: &mut Ledger,
    ids: &[Holding],
) -> Result<Vec<Holding>, store::Error> {
    let mut missed = Vec::new();
    let mut parts = vec![ids];
    while let Some(part) = parts.pop() {
        let mut batch = Batch::default();
        for id in part {
            if let Some(job) = ledger.open.get_mut(id).filter(|job| !job.waiting.is_empty()) {
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
                        recorded(writer, ledger, *id);
                    } else if ledger.open.get(id).is_some_and(|job| !job.waiting.is_empty()) {
                        missed.push(*id);
                    }
                }
            }
            Err(error) if error.is_poison() && part.len() > 1 => {
                let (left, right) = part.split_at(part.len() / 2);
                parts.extend([right, left]);
            }
            Err(error) if error.is_poison() => drop_words(ledger, part[0], &error),
            Err(error) => return Err(error),
        }
    }
    Ok(missed)
}

/// The culprit stands alone: its outcome is recorded without what the provider wrote. If even that can't be stored, it
/// is kept and tried again now and then: the job stays ours, so nobody sends it again.
fn drop_words(ledger: &mut Ledger, id: Holding, error: &store::Error) {
    tracing::error!(%error, job = id.job.0, "an outcome can't be stored as the provider worded it");
    let Some(job) = ledger.open.get_mut(&id) else { return };
    let mut changed = false;
    for ended in &mut job.waiting {
        let plain = ended.ending.without_words();
        changed |= plain != ended.ending;
        ended.ending = plain;
    }
    if changed {
        ledger.put_back(&[id]);
    } else {
        ledger.put_aside(id);
    }
}

/// What waited of a job is on record: notes it, and passes on what follows from it.
fn recorded(writer: &Writer, ledger: &mut Ledger, id: Holding) {
    let Some(job) = ledger.open.get_mut(&id) else { return };
    let ended = std::mem::take(&mut job.waiting);
    writer.shared.unrecorded.fetch_sub(ended.len(), Ordering::AcqRel);
    for e in &ended {
        job.recorded.set(e.index, true);
    }
    job.version += 1;
    let finished = job.recorded.all();
    follow_up(writer, ledger, id, ended);
    if finished {
        ledger.open.remove(&id);
        writer.shared.holdings.let_go(id);
    }
}

/// Retry jobs may be due at once; what was found about tokens comes after the receipts.
fn follow_up(writer: &Writer, ledger: &Ledger, id: Holding, ended: Vec<Ended>) {
    let Some(job) = ledger.open.get(&id) else { return };
    let mut findings: Vec<Finding> = Vec::new();
    for e in ended {
        if let Some(lane) = due_at_once(&e.ending, job.held.job.lane) {
            writer.waker.waits(lane, Class::Retry, job.held.job.priority);
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
fn due_at_once(ending: &Ending, own: LaneId) -> Option<LaneId> {
    match ending {
        Ending::Again { lane, delay, .. } if delay.is_zero() => Some(lane.unwrap_or(own)),
        Ending::Trial { lane, .. } => Some(*lane),
        _ => None,
    }
}

/// In one transaction: looks at the job under its lock, then records the final outcomes of devices whose bit is clear,
/// under the present owner and version. Others only while the lease is still ours. The first final outcome wins.
async fn write_slowly(writer: &Writer, ledger: &mut Ledger, id: Holding) -> Result<(), store::Error> {
    let Some(job) = ledger.open.get_mut(&id) else { return Ok(()) };
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
            ledger.open.remove(&id);
        }
        writer.shared.holdings.let_go(id);
        return Ok(());
    };
    let ours = present.node == Some(job.held.lease);
    let table = present.done.unwrap_or_else(|| bit_vec::BitVec::from_elem(present.n, false));
    let news: Vec<&Ended> = job
        .waiting
        .iter()
        .filter(|e| table.get(e.index) == Some(false))
        .filter(|e| ours || is_final(&e.ending))
        .collect();
    let wrote = !news.is_empty();
    if wrote {
        let mut batch = Batch::default();
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
    follow_up(writer, ledger, id, ended);
    if lost {
        writer.shared.holdings.let_go(id);
        if over {
            ledger.open.remove(&id);
        }
    }
    Ok(())
}

fn is_final(ending: &Ending) -> bool {
    matches!(ending, Ending::Final { status, .. } if *status != DeliveryStatus::Pending)
}

/// Releases the jobs that are over and still have devices, as they were.
async fn give_back(writer: &Writer, ledger: &mut Ledger, due: &[Holding]) -> Result<(), store::Error> {
    let over: Vec<Holding> = due
        .iter()
        .copied()
        .filter(|id| ledger.open.get(id).is_some_and(|job| job.is_over() && job.waiting.is_empty()))
        .collect();
    let Some(first) = over.first().and_then(|id| ledger.open.get(id)) else { return Ok(()) };
    let lease = first.held.lease;
    let (under_it, others): (Vec<Holding>, Vec<Holding>) =
        over.into_iter().partition(|id| ledger.open.get(id).is_some_and(|job| job.held.lease == lease));
    let versions: Vec<(JobId, i32)> =
        under_it.iter().filter_map(|id| ledger.open.get(id).map(|job| (id.job, job.version))).collect();
    let mut conn = writer.pool.acquire().await.map_err(store::Error::from)?;
    jobs::release(&mut conn, lease, &versions).await?;
    for id in under_it {
        if let Some(open) = ledger.open.remove(&id) {
            let job = &open.held.job;
            writer.waker.given_back(job.lane, job.class, job.priority);
        }
        writer.shared.holdings.let_go(id);
    }
    ledger.put_back(&others);
    Ok(())
}
