//! Reads the attempts at the devices of a page and their ends, from all receipts that have these devices, and what held their
//! lanes meanwhile.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::{Delivery, Error};
use crate::domain::{AppId, DeliveryStatus, DeviceId, LaneId, LaneState, NotificationId, OutcomeByte};
use crate::store::Session;

/// Attempts at one device, and stops of one lane, that are read at most: the last ones. With a short `retry_max` a device has
/// thousands of attempts within its time to live.
pub const ATTEMPTS_MAX: usize = 100;
const STOPS_MAX: i64 = 1_000;

/// One attempt at one device, or its end without an attempt, or its move to another lane, as its receipt has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordedAttempt {
    /// Which attempt it was. A probe of the other APNs environment has the number of the attempt before. Of an end without an
    /// attempt: the attempt that was not made.
    pub attempt: u16,
    /// The lane that it was made in, or in which the device waited.
    pub lane: LaneId,
    /// From when on it could be made: when the device was found, or when the retry was due. None: when the notification was due.
    pub ready_at: Option<DateTime<Utc>>,
    /// When it began. Devices that are recorded together have the time of the first one. None: the device ended without an
    /// attempt.
    pub began_at: Option<DateTime<Utc>>,
    /// When its outcome was recorded.
    pub at: DateTime<Utc>,
    /// The outcome; `Pending`: another attempt follows.
    pub status: DeliveryStatus,
    /// The reason that it gave.
    pub reason: Option<String>,
    /// The receipt has other devices too, so the times may be theirs.
    pub is_shared: bool,
}

/// A time in which a lane did not send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LaneStop {
    /// Why: what an operator decided, or the worst state that nodes reported.
    pub state: LaneState,
    /// The provider's reason for it.
    pub reason: Option<String>,
    /// When it began.
    pub began_at: DateTime<Utc>,
    /// When it ended. None: it lasts.
    pub ended_at: Option<DateTime<Utc>>,
}

/// What the histories of the deliveries of a page are made of.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct RecordedAttempts {
    /// When the notification was due.
    pub due_at: DateTime<Utc>,
    /// The attempts at each device, in their order, with moves to another lane, and its end if that was without an attempt; of
    /// more than [`ATTEMPTS_MAX`] the last ones.
    pub by_device: HashMap<DeviceId, Vec<RecordedAttempt>>,
    /// The stops of each lane since the notification was due, in their order.
    pub stops: HashMap<LaneId, Vec<LaneStop>>,
}

impl RecordedAttempt {
    /// Until when the device had waited.
    pub fn waited_until(&self) -> DateTime<Utc> {
        self.began_at.unwrap_or(self.at)
    }

    /// True if the device went on to another lane without an attempt in this one.
    pub fn is_move(&self) -> bool {
        self.began_at.is_none() && self.status == DeliveryStatus::Pending
    }
}

/// Reads the attempts at the devices of `items`, deliveries of a notification of the app.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub(super) async fn read(
    conn: &mut Session,
    app: AppId,
    id: NotificationId,
    items: &[Delivery],
) -> Result<RecordedAttempts, Error> {
    let devices: Vec<i64> = items.iter().map(|item| item.device.0).collect();
    let by_device = attempts(conn, id, &devices).await?;
    let lanes = by_device.values().flatten().map(|attempt| attempt.lane.0).collect();
    let last = by_device.values().flatten().map(RecordedAttempt::waited_until).max();
    let due_at = sqlx::query_scalar!(
        "select due_at from notifications where notification_id = $1 and app_id = $2",
        id.0,
        app.0
    )
    .fetch_optional(&mut *conn)
    .await?;
    let due_at = due_at.unwrap_or_default();
    let stops = stops(conn, lanes, due_at, last.unwrap_or(due_at)).await?;
    Ok(RecordedAttempts { due_at, by_device, stops })
}

/// Receipts of other devices are left out by the range of their devices, so only a few lists of a large notification are read.
pub(super) async fn attempts(
    conn: &mut Session,
    id: NotificationId,
    devices: &[i64],
) -> Result<HashMap<DeviceId, Vec<RecordedAttempt>>, Error> {
    let rows = sqlx::query!(
        r#"select receipt_id, lane_id, attempt, began_at, recorded_at, device as "device!",
                  -- 0: the device ended when it was found.
                  case when job_id = 0 then recorded_at else ready_at end as ready_at, cardinality(devices) > 1 as "is_shared!",
                  get_byte(outcomes, place::int - 1) as "outcome!", reasons[get_byte(reason_indexes, place::int - 1)] as reason
           from receipts cross join lateral unnest(devices) with ordinality as listed(device, place)
           where notification_id = $1 and first_device <= $2 and last_device >= $3 and device = any($4)
           order by receipt_id desc limit $5"#,
        id.0,
        devices.iter().max().copied().unwrap_or_default(),
        devices.iter().min().copied().unwrap_or_default(),
        devices,
        i64::try_from(devices.len() * ATTEMPTS_MAX).unwrap_or(i64::MAX)
    )
    .fetch_all(conn)
    .await?;
    let mut by_device: HashMap<DeviceId, Vec<RecordedAttempt>> = HashMap::new();
    for row in rows {
        let odd = Error::Inconsistent { table: "receipts", column: "outcomes", row: row.receipt_id };
        let byte = u8::try_from(row.outcome).unwrap_or(u8::MAX);
        let OutcomeByte { status, attempted } = OutcomeByte::decode(byte).ok_or(odd)?;
        let of_device = by_device.entry(DeviceId(row.device)).or_default();
        if of_device.len() < ATTEMPTS_MAX {
            of_device.push(RecordedAttempt {
                attempt: row.attempt.unsigned_abs(),
                lane: LaneId(row.lane_id),
                ready_at: row.ready_at,
                began_at: attempted.then_some(row.began_at),
                at: row.recorded_at,
                status,
                reason: row.reason,
                is_shared: row.is_shared,
            });
        }
    }
    by_device.values_mut().for_each(|attempts| attempts.reverse());
    Ok(by_device)
}

/// The stops of lanes from `from` until `until`.
pub(super) async fn stops(
    conn: &mut Session,
    mut lanes: Vec<i32>,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<HashMap<LaneId, Vec<LaneStop>>, Error> {
    lanes.sort_unstable();
    lanes.dedup();
    let rows = sqlx::query!(
        r#"select c.lane_id, c.state, c.reason, c.began_at, nullif(c.ended_at, 'infinity') as ended_at
           from unnest($1::int[]) as lane(id) cross join lateral (
             select * from lane_changes
             where lane_id = lane.id and ended_at > $2
               -- The state that the lane had at the end. No later one is read.
               and ended_at <= coalesce((select min(ended_at) from lane_changes
                                         where lane_id = lane.id and ended_at >= $3), 'infinity')
               and began_at < $3 and state <> $4
             order by ended_at desc limit $5) c
           order by c.began_at"#,
        &lanes,
        from,
        until,
        LaneState::Running.code(),
        STOPS_MAX
    )
    .fetch_all(conn)
    .await?;
    let mut stops: HashMap<LaneId, Vec<LaneStop>> = HashMap::new();
    for row in rows {
        if let Some(state) = LaneState::from_code(row.state) {
            let stop = LaneStop { state, reason: row.reason, began_at: row.began_at, ended_at: row.ended_at };
            stops.entry(LaneId(row.lane_id)).or_default().push(stop);
        }
    }
    Ok(stops)
}
