//! Reads what became of one device of a notification, and what its lanes did meanwhile, from one snapshot.

use std::collections::HashMap;

use bit_vec::BitVec;
use chrono::{DateTime, Utc};

use super::{Error, LaneStop, RecordedAttempt, attempts, erased};
use crate::domain::{AppId, DeliveryStatus, DeviceId, LaneId, NotificationId, OutcomeByte, TraceId};
use crate::store::sessions::begin_with;
use crate::store::{Session, SessionPool};

/// Receipts among which the one that ended last is looked for. Two nodes may record in another order than they number.
const LAST_RECEIPTS: i64 = 100;

/// What is stored about the way of a notification to one of its devices.
#[derive(Clone, PartialEq, Debug)]
pub struct DeviceCourse {
    /// Postgres's clock when this was read.
    pub now: DateTime<Utc>,
    /// When the notification was accepted.
    pub created_at: DateTime<Utc>,
    /// When it was due.
    pub due_at: DateTime<Utc>,
    /// The trace that it is recorded in. None: it is not traced.
    pub trace_id: Option<TraceId>,
    /// The device. None: there is none to name, because it was erased, was not found, or stands for a token without a device.
    pub device: Option<DeviceId>,
    /// How the course ends.
    pub end: CourseEnd,
    /// The attempts at the device, its moves to other lanes and its end, in their order; of more than
    /// [`super::ATTEMPTS_MAX`] the last ones.
    pub steps: Vec<RecordedAttempt>,
    /// The stops of each of its lanes since the notification was due, in their order.
    pub stops: HashMap<LaneId, Vec<LaneStop>>,
}

/// How the course of a device ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CourseEnd {
    /// The last step is final.
    Ended,
    /// The device waits in this job, or is tried.
    Waits(WaitingJob),
    /// The audience is still being found, and the device was not found so far.
    Searching,
    /// The notification has ended, and no device was found.
    WithoutDevice {
        /// When it ended.
        at: DateTime<Utc>,
        /// By a cancellation.
        is_cancelled: bool,
    },
}

/// The job in which a device waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WaitingJob {
    /// The job's lane.
    pub lane: LaneId,
    /// From when on the device can be sent, as [`RecordedAttempt::ready_at`].
    pub ready_at: Option<DateTime<Utc>>,
    /// Which attempt it waits for.
    pub attempt: u16,
}

/// A job with one of its devices.
struct FoundJob {
    device: DeviceId,
    waiting: WaitingJob,
}

/// Reads the course of a device of an app's notification. Without `device`, of the one that has waited longest, or else ended
/// last. None: the app has no such notification, or the notification has no such device.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn course(
    pool: &SessionPool,
    app: AppId,
    id: NotificationId,
    device: Option<DeviceId>,
) -> Result<Option<DeviceCourse>, Error> {
    let mut snapshot = begin_with(pool, "begin isolation level repeatable read read only").await?;
    let found = read(&mut snapshot, app, id, device).await?;
    snapshot.rollback().await?;
    Ok(found)
}

async fn read(
    conn: &mut Session,
    app: AppId,
    id: NotificationId,
    asked: Option<DeviceId>,
) -> Result<Option<DeviceCourse>, Error> {
    let row = sqlx::query!(
        r#"select now() as "now!", created_at, due_at, cancelled_at, audience_cancelled, trace_id,
                  exists (select from fan_outs f where f.notification_id = n.notification_id) as "is_searching!"
           from notifications n where notification_id = $1 and app_id = $2"#,
        id.0,
        app.0
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let mut course = DeviceCourse {
        now: row.now,
        created_at: row.created_at,
        due_at: row.due_at,
        trace_id: row.trace_id.as_deref().and_then(TraceId::from_stored),
        device: None,
        end: CourseEnd::Searching,
        steps: Vec::new(),
        stops: HashMap::new(),
    };
    if let Some(asked) = asked
        && erased::without_erased(conn, vec![asked]).await?.is_empty()
    {
        return Ok(None);
    }
    let job = job(conn, id, asked).await?;
    let device = match (&job, asked) {
        (Some(job), _) => Some(job.device),
        (None, Some(asked)) => Some(asked),
        // What was not found yet waits longest.
        (None, None) if row.is_searching => None,
        (None, None) => ended_last(conn, id).await?,
    };
    if let Some(device) = device {
        course.steps = attempts::attempts(conn, id, &[device.0]).await?.remove(&device).unwrap_or_default();
    }
    course.end = match (job, course.steps.last()) {
        (Some(job), _) => CourseEnd::Waits(job.waiting),
        (None, Some(_)) => CourseEnd::Ended,
        (None, None) if row.is_searching => CourseEnd::Searching,
        (None, None) if asked.is_some() => return Ok(None),
        (None, None) => CourseEnd::WithoutDevice {
            at: row.cancelled_at.unwrap_or(row.due_at),
            is_cancelled: row.cancelled_at.is_some() && row.audience_cancelled,
        },
    };
    if let Some(device) = device
        && !matches!(course.end, CourseEnd::Searching)
        && device.is_device()
    {
        course.device = erased::without_erased(conn, vec![device]).await?.pop();
    }
    course.stops = stops(conn, &course).await?;
    Ok(Some(course))
}

/// The stops of the lanes in which the device waited.
async fn stops(conn: &mut Session, course: &DeviceCourse) -> Result<HashMap<LaneId, Vec<LaneStop>>, Error> {
    let mut lanes: Vec<i32> = course.steps.iter().map(|step| step.lane.0).collect();
    let mut until = course.steps.last().map_or(course.now, |step| step.at);
    if let CourseEnd::Waits(job) = course.end {
        lanes.push(job.lane.0);
        until = course.now;
    }
    attempts::stops(conn, lanes, course.due_at, until).await
}

/// The job in which the device waits; without a device, the job that has been due longest, with a device of it.
async fn job(
    conn: &mut Session,
    id: NotificationId,
    device: Option<DeviceId>,
) -> Result<Option<FoundJob>, Error> {
    let rows = sqlx::query!(
        r#"with own_jobs as materialized (select * from jobs where notification_id = $1)
           select lane_id, attempt, ready_at(class, due_at, found_at) as ready_at, devices, done as "done: BitVec"
           from own_jobs where $2::bigint is null or devices @> array[$2::bigint]
           order by due_at, job_id limit case when $2::bigint is null then 1 end"#,
        id.0,
        device.map(|device| device.0)
    )
    .fetch_all(conn)
    .await?;
    for row in rows {
        let is_left = |place: usize| row.done.as_ref().and_then(|done| done.get(place)) != Some(true);
        let mut places = row.devices.iter().enumerate();
        let left =
            places.find(|(place, found)| is_left(*place) && device.is_none_or(|device| device.0 == **found));
        if let Some((_, found)) = left {
            let waiting = WaitingJob {
                lane: LaneId(row.lane_id),
                ready_at: row.ready_at,
                attempt: row.attempt.unsigned_abs(),
            };
            return Ok(Some(FoundJob { device: DeviceId(*found), waiting }));
        }
    }
    Ok(None)
}

/// The device that ended last.
async fn ended_last(conn: &mut Session, id: NotificationId) -> Result<Option<DeviceId>, Error> {
    let row = sqlx::query!(
        r#"with last_receipts as materialized (
             select receipt_id, recorded_at, devices, outcomes from receipts
             where notification_id = $1
               and accepted + rejected + token_dead + expired + cancelled + unknown > 0
             order by receipt_id desc limit $2)
           select receipt_id as "receipt_id!", devices as "devices!", outcomes as "outcomes!" from last_receipts
           order by recorded_at desc, receipt_id desc limit 1"#,
        id.0,
        LAST_RECEIPTS
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let odd = || Error::Inconsistent { table: "receipts", column: "outcomes", row: row.receipt_id };
    for (device, byte) in row.devices.iter().zip(&row.outcomes) {
        if OutcomeByte::decode(*byte).ok_or_else(odd)?.status != DeliveryStatus::Pending {
            return Ok(Some(DeviceId(*device)));
        }
    }
    Ok(None)
}
