//! Records outcomes: idempotent and fenced (docs/queue.md#fenced-record).
//!
//! A record names job, notification, owner and version, and changes nothing where they do not match. So a repetition
//! after a lost COMMIT, and a late record after a lost lease, change nothing. A job is deleted only when each of its
//! devices has an outcome: the statement checks it.

use bit_vec::BitVec;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Error;
use crate::domain::{DeliveryStatus, DeviceId, JobId, LaneId, NodeId, NotificationId, SUSPECT_NODE_DEATHS};
use crate::store::Session;

/// The receipts of many jobs, and the retry jobs that come with them: as columns. Jobs ascend by id.
#[derive(Debug, Default)]
pub struct RecordBatch {
    job: Vec<i64>,
    notification: Vec<Uuid>,
    node: Vec<Option<i32>>,
    version: Vec<i32>,
    finished: Vec<bool>,
    done: Vec<BitVec>,
    counts: [Vec<i16>; 7],
    outcomes: Vec<Vec<u8>>,
    reasons: Vec<Option<String>>,
    reason_indexes: Vec<Option<Vec<u8>>>,
    provider_ids: Vec<Option<String>>,
    began_ms: Vec<i32>,
    progress: Vec<bool>,
    start: Vec<i32>,
    end: Vec<i32>,
    devices: Vec<i64>,

    retry_parent: Vec<i64>,
    retry_lane: Vec<Option<i32>>,
    retry_delay_ms: Vec<i64>,
    retry_step: Vec<i16>,
    retry_unanswered: Vec<i16>,
    retry_reason: Vec<Option<String>>,
    retry_environment_probe_since: Vec<Option<DateTime<Utc>>>,
    retry_start: Vec<i32>,
    retry_end: Vec<i32>,
    retry_devices: Vec<i64>,
}

/// The outcomes of devices of one job.
#[derive(Debug)]
pub struct NewReceipt<'a> {
    /// The job's number.
    pub job: JobId,
    /// The job's notification, as a part of the fence. After a failover that lost the last jobs, the number alone may
    /// be that of another job.
    pub notification: NotificationId,
    /// The node that has leased the job. None: it waits.
    pub node: Option<NodeId>,
    /// The job's version, as far as that node knows.
    pub version: i32,
    /// No device is left in the job after this.
    pub finished: bool,
    /// A bit per device of the job, set for those that leave it with this.
    pub done: BitVec,
    /// Numbers of devices: accepted, rejected, token_dead, expired, cancelled, unknown, retried.
    pub counts: [i16; 7],
    /// The devices that leave the job, ascending.
    pub devices: &'a [DeviceId],
    /// One byte per device.
    pub outcomes: Vec<u8>,
    /// The reasons that occur, each once, printable ASCII.
    pub reasons: Vec<String>,
    /// One byte per device: index into `reasons` plus 1, or 0 for none. Empty if there are no reasons.
    pub reason_indexes: Vec<u8>,
    /// FCM's message name per device, empty where there is none. Empty if there are none at all. Printable ASCII.
    pub provider_ids: Vec<String>,
    /// Milliseconds since the first attempt in the receipt began.
    pub began_ms: i32,
    /// Clears the job of the suspicion that it kills its nodes.
    pub progress: bool,
}

/// A job of devices that go on: with another attempt, or with the same attempt in another lane.
#[derive(Debug)]
pub struct NewRetryJob<'a> {
    /// The job that they come from, which is in the same batch.
    pub parent: JobId,
    /// The new job's lane. None: the same lane.
    pub lane: Option<LaneId>,
    /// Milliseconds from now until the job is due.
    pub delay_ms: i64,
    /// 1: another attempt; 0: the same attempt in another lane.
    pub step: i16,
    /// Number of unanswered attempts that this adds. An attempt of the parent that is in doubt is added by the
    /// statement.
    pub unanswered: i16,
    /// The last reason given about the devices. None: that of the parent stays.
    pub reason: Option<&'a str>,
    /// Some: an environment probe of tokens that were called bad in an attempt that began then.
    pub environment_probe_since: Option<DateTime<Utc>>,
    /// The devices of the new job, ascending.
    pub devices: &'a [DeviceId],
}

impl RecordBatch {
    /// True without any receipt.
    pub fn is_empty(&self) -> bool {
        self.job.is_empty()
    }

    /// Adds the outcomes of a job.
    pub fn receipt(&mut self, receipt: NewReceipt<'_>) {
        self.job.push(receipt.job.0);
        self.notification.push(receipt.notification.0);
        self.node.push(receipt.node.map(|node| node.0));
        self.version.push(receipt.version);
        self.finished.push(receipt.finished);
        self.done.push(receipt.done);
        for (column, count) in self.counts.iter_mut().zip(receipt.counts) {
            column.push(count);
        }
        self.outcomes.push(receipt.outcomes);
        let some = !receipt.reasons.is_empty();
        self.reasons.push(some.then(|| receipt.reasons.join("\n")));
        self.reason_indexes.push(some.then_some(receipt.reason_indexes));
        let some = !receipt.provider_ids.is_empty();
        self.provider_ids.push(some.then(|| receipt.provider_ids.join("\n")));
        self.began_ms.push(receipt.began_ms);
        self.progress.push(receipt.progress);
        push_slice(&mut self.devices, &mut self.start, &mut self.end, receipt.devices);
    }

    /// Adds a job of devices that go on.
    pub fn retry(&mut self, retry: NewRetryJob<'_>) {
        self.retry_parent.push(retry.parent.0);
        self.retry_lane.push(retry.lane.map(|lane| lane.0));
        self.retry_delay_ms.push(retry.delay_ms);
        self.retry_step.push(retry.step);
        self.retry_unanswered.push(retry.unanswered);
        self.retry_reason.push(retry.reason.map(str::to_owned));
        self.retry_environment_probe_since.push(retry.environment_probe_since);
        push_slice(&mut self.retry_devices, &mut self.retry_start, &mut self.retry_end, retry.devices);
    }
}

/// Appends a slice. Postgres's arrays count from 1, and their slices include both ends.
fn push_slice(flat: &mut Vec<i64>, start: &mut Vec<i32>, end: &mut Vec<i32>, devices: &[DeviceId]) {
    let at = |len: usize| i32::try_from(len).expect("a batch holds fewer than 2^31 devices");
    start.push(at(flat.len()) + 1);
    flat.extend(devices.iter().map(|device| device.0));
    end.push(at(flat.len()));
}

/// Appends the receipts, writes the retry jobs, and marks or deletes the jobs. Returns the jobs that matched their
/// fence. Nothing happened to the others, which take the slow path.
///
/// # Errors
/// Nothing is recorded: Postgres is out of reach, or one value of the batch is poisoned.
pub async fn record(conn: &mut Session, batch: &RecordBatch) -> Result<Vec<JobId>, Error> {
    let recorded = store(conn, batch).await?;
    if !recorded.is_empty() {
        conn.note_events();
    }
    Ok(recorded.into_iter().map(|job| counted(conn, batch, job.job_id, job.lane_id)).collect())
}

/// A job that matched its fence, and its lane.
struct RecordedJob {
    job_id: i64,
    lane_id: i32,
}

/// The statement of [`record`]. The event log is told of receipts with final outcomes. A receipt of retries only is not told,
/// because its notification goes on.
async fn store(conn: &mut Session, batch: &RecordBatch) -> Result<Vec<RecordedJob>, Error> {
    let [accepted, rejected, token_dead, expired, cancelled, unknown, retried] = &batch.counts;
    let recorded = sqlx::query_as!(
        RecordedJob,
        r#"
        with incoming as (
          select * from unnest($1::bigint[], $2::int[], $3::int[], $4::boolean[],
                               $6::smallint[], $7::smallint[], $8::smallint[], $9::smallint[], $10::smallint[],
                               $11::smallint[], $12::smallint[], $13::bytea[], $14::text[], $15::bytea[], $16::text[],
                               $17::int[], $18::int[], $19::int[], $33::uuid[])
            as i(job_id, node_id, version, finished, accepted, rejected, token_dead, expired, cancelled, unknown,
                 retried, outcomes, reasons, reason_indexes, provider_ids, began_ms, first, last, notification_id)),
        locked_jobs as materialized (select * from jobs where job_id = any($1) order by job_id for update),
        -- The fence: job, notification, node and version are as the batch says. A job that the batch calls finished has
        -- no device left then.
        owned as materialized (
          select l.job_id, l.notification_id, l.lane_id, l.priority, l.expires_at, l.attempt, l.unanswered, l.in_doubt, l.last_reason,
                 l.trace, ready_at(l.class, l.due_at, l.found_at) as ready_at, i.finished, i.accepted, i.rejected, i.token_dead,
                 i.expired, i.cancelled, i.unknown, i.retried, i.outcomes, i.reasons, i.reason_indexes, i.provider_ids, i.began_ms,
                 i.first, i.last
          from incoming i
          join locked_jobs l on l.job_id = i.job_id and l.notification_id = i.notification_id
            and l.node_id is not distinct from i.node_id and l.version = i.version
            and (not i.finished or l.device_count = coalesce(bit_count(l.done), 0) + i.last - i.first + 1)),
        finished_jobs as (delete from jobs where job_id = any(array(select job_id from owned where finished))),
        -- Below the limit of suspicion ($31 deaths), each record sets the number of node deaths to 0. A suspect job stays
        -- suspect: an attempt sets the number to the limit. A device that was rejected without an attempt adds one death,
        -- so that the next device is tried.
        partly_done_jobs as (
          update jobs set version = version + 1, node_deaths = case when node_deaths < $31 then 0
                   when ($30::boolean[])[array_position($1, job_id)] then $31 else least(node_deaths::int + 1, 32767)::smallint end,
                 done = coalesce(done | ($5::varbit[])[array_position($1, job_id)], ($5::varbit[])[array_position($1, job_id)])
          where job_id = any(array(select job_id from owned where not finished))),
        new_receipts as (
          insert into receipts (notification_id, job_id, lane_id, attempt, accepted, rejected, token_dead, expired, cancelled, unknown,
                                retried, shape, first_device, last_device, devices, outcomes, reasons, reason_indexes,
                                provider_ids, began_at, last_reason, ready_at)
          select notification_id, job_id, lane_id, attempt, accepted, rejected, token_dead, expired, cancelled, unknown, retried,
                 shape_of(($20::bigint[])[first], ($20::bigint[])[last], last - first + 1), ($20::bigint[])[first],
                 ($20::bigint[])[last], ($20::bigint[])[first:last], outcomes, string_to_array(reasons, E'\n'), reason_indexes,
                 string_to_array(provider_ids, E'\n', ''), now() - make_interval(secs => began_ms / 1000.0), last_reason, ready_at
          from owned returning notification_id, receipt_id, lane_id, retried < length(outcomes) as has_final),
        new_facts as (
          insert into event_outbox (app_id, kind, notifications, receipts)
          select (select app_id from lanes l where l.lane_id = r.lane_id), 1, array_agg(notification_id), array_agg(receipt_id)
          from new_receipts r where has_final and logs_events() group by 1),
        -- An attempt in doubt counts as unanswered if another attempt follows. The same attempt in another lane stays in
        -- doubt. Both counters stop at the end of smallint: with a short retry_max, 28 days have room for more attempts.
        retries as (
          insert into jobs (notification_id, lane_id, priority, class, due_at, expires_at, attempt, unanswered,
                            in_doubt, last_reason, environment_probe_since, trace, device_count, devices)
          select o.notification_id, coalesce(r.lane, o.lane_id), o.priority, 1, now() + make_interval(secs => r.delay_ms / 1000.0), o.expires_at,
                 least(o.attempt::int + r.step, 32767)::smallint,
                 least(o.unanswered::int + r.unanswered + case when o.in_doubt then r.step else 0 end, 32767)::smallint,
                 o.in_doubt and r.step = 0, coalesce(r.reason, o.last_reason), r.environment_probe_since, o.trace,
                 (r.last - r.first + 1)::smallint, ($29::bigint[])[r.first:r.last]
          from unnest($21::bigint[], $22::int[], $23::bigint[], $24::smallint[], $25::smallint[], $26::text[],
                      $32::timestamptz[], $27::int[], $28::int[])
            as r(parent, lane, delay_ms, step, unanswered, reason, environment_probe_since, first, last)
          join owned o on o.job_id = r.parent)
        select job_id as "job_id!", lane_id as "lane_id!" from owned
        "#,
        &batch.job,
        &batch.node as &[Option<i32>],
        &batch.version,
        &batch.finished,
        &batch.done as &[BitVec],
        accepted,
        rejected,
        token_dead,
        expired,
        cancelled,
        unknown,
        retried,
        &batch.outcomes,
        &batch.reasons as &[Option<String>],
        &batch.reason_indexes as &[Option<Vec<u8>>],
        &batch.provider_ids as &[Option<String>],
        &batch.began_ms,
        &batch.start,
        &batch.end,
        &batch.devices,
        &batch.retry_parent,
        &batch.retry_lane as &[Option<i32>],
        &batch.retry_delay_ms,
        &batch.retry_step,
        &batch.retry_unanswered,
        &batch.retry_reason as &[Option<String>],
        &batch.retry_start,
        &batch.retry_end,
        &batch.retry_devices,
        &batch.progress,
        SUSPECT_NODE_DEATHS,
        &batch.retry_environment_probe_since as &[Option<DateTime<Utc>>],
        &batch.notification,
    )
    .fetch_all(conn);
    Ok(recorded.await?)
}

/// Counts the devices of a recorded job that have ended, and returns the job.
fn counted(conn: &mut Session, batch: &RecordBatch, job: i64, lane: i32) -> JobId {
    if let Ok(place) = batch.job.binary_search(&job) {
        for (status, counts) in COLUMNS.iter().zip(&batch.counts) {
            conn.count_delivery(LaneId(lane), *status, counts[place].unsigned_abs().into());
        }
    }
    JobId(job)
}

/// What the columns of [`NewReceipt::counts`] count, but for the last one, which counts devices that are tried again.
const COLUMNS: [DeliveryStatus; 6] = [
    DeliveryStatus::Accepted,
    DeliveryStatus::Rejected,
    DeliveryStatus::TokenDead,
    DeliveryStatus::Expired,
    DeliveryStatus::Cancelled,
    DeliveryStatus::Unknown,
];

/// A locked job as it is in the table.
#[derive(Debug)]
pub struct LockedJob {
    /// The job's number.
    pub job: JobId,
    /// The notification that it sends.
    pub notification: NotificationId,
    /// The node that has leased it. None: it waits.
    pub node: Option<NodeId>,
    /// Its present version.
    pub version: i32,
    /// Number of its devices, done or not.
    pub device_count: usize,
    /// A bit per device, set for those that have left it. None: no device has.
    pub done: Option<BitVec>,
}

/// Locks jobs and reads them: the first statement of the slow path. The second one is [`record`], in the same
/// transaction. `jobs` ascend. Deleted jobs are left out.
pub async fn lock(conn: &mut Session, jobs: &[JobId]) -> Result<Vec<LockedJob>, Error> {
    let ids: Vec<i64> = jobs.iter().map(|job| job.0).collect();
    let rows = sqlx::query!(
        r#"
        select job_id, notification_id, node_id, version, device_count, done as "done: BitVec" from jobs
        where job_id = any($1) order by job_id for update
        "#,
        &ids
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| LockedJob {
            job: JobId(row.job_id),
            notification: NotificationId(row.notification_id),
            node: row.node_id.map(NodeId),
            version: row.version,
            device_count: usize::try_from(row.device_count).unwrap_or_default(),
            done: row.done,
        })
        .collect())
}
