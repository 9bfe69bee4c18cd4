//! Lists the latest notifications to one device with their outcomes, the newest first.
//!
//! Receipts are found by device through three indexes (docs/queue.md#receipt-indexes).

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::unfold::{attempts, last_reason};
use super::{Delivery, Error, begin_with, erased};
use crate::domain::{
    AppId, DeliveryStatus, DeviceId, LaneId, NotificationId, OutcomeByte, References, UserId,
};
use crate::store::{Session, SessionPool};

/// Planning for all partitions takes longer than reading. With a generic plan it is done once per connection, not once
/// per device.
const SNAPSHOT: &str =
    "begin isolation level repeatable read read only; set local plan_cache_mode = force_generic_plan";

struct TimelineRow {
    notification_id: Uuid,
    lane_id: i32,
    recorded_at: DateTime<Utc>,
    attempt: i16,
    outcome: i32,
    reason: Option<String>,
    last_reason: Option<String>,
    provider_id: Option<String>,
}

/// The latest record of each of up to `limit` notifications before `before`: the outcome, or `pending` if more attempts
/// follow. A notification that waits for its first attempt has no record yet. The caller has checked that the device
/// belongs to the app.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn timeline(
    pool: &SessionPool,
    app: AppId,
    device: DeviceId,
    before: Option<NotificationId>,
    limit: usize,
) -> Result<Vec<(NotificationId, Delivery)>, Error> {
    let before = before.map_or(Uuid::max(), |id| id.0);
    let mut snapshot = begin_with(pool, SNAPSHOT).await?;
    let mut found = Vec::new();
    for row in latest(&mut snapshot, device, before, limit).await? {
        found.push((NotificationId(row.notification_id), row.into_delivery(device)?));
    }
    add_addressing(&mut snapshot, device, &mut found).await?;
    erased::hide_users(&mut snapshot, app, &mut found).await?;
    add_next_attempts(&mut snapshot, device, &mut found).await?;
    snapshot.rollback().await?;
    Ok(found)
}

/// `offset 0` keeps the bound on the notification out of the search in lists. With the bound, the planner reads all
/// keys of a day for each device that it looks up.
async fn latest(
    conn: &mut Session,
    device: DeviceId,
    before: Uuid,
    limit: usize,
) -> Result<Vec<TimelineRow>, Error> {
    let rows = sqlx::query_as!(
        TimelineRow,
        r#"with latest as (
             select distinct on (notification_id) * from (
               -- Receipts of this device alone.
               select notification_id, receipt_id, lane_id, recorded_at, attempt, devices, outcomes, reasons,
                      reason_indexes, last_reason, provider_ids
               from receipts where shape = '1' and first_device = $1 and notification_id < $2
               union all
               select * from (
                 -- Dense ranges.
                 select notification_id, receipt_id, lane_id, recorded_at, attempt, devices, outcomes, reasons,
                        reason_indexes, last_reason, provider_ids
                 from receipts
                 where shape = 'r' and int8range(first_device, last_device, '[]') @> $1 and devices @> array[$1]
                 union all
                 -- Wide lists.
                 select notification_id, receipt_id, lane_id, recorded_at, attempt, devices, outcomes, reasons,
                        reason_indexes, last_reason, provider_ids
                 from receipts where shape = 'w' and devices @> array[$1] offset 0) lists
               where notification_id < $2) of_device
             order by notification_id desc, receipt_id desc limit $3)
           select notification_id as "notification_id!", lane_id as "lane_id!", recorded_at as "recorded_at!",
                  attempt as "attempt!", get_byte(outcomes, place - 1) as "outcome!",
                  reasons[get_byte(reason_indexes, place - 1)] as reason, last_reason, nullif(provider_ids[place], '') as provider_id
           from latest cross join lateral (select array_position(devices, $1) as place) found
           order by notification_id desc"#,
        device.0,
        before,
        i64::try_from(limit).unwrap_or(i64::MAX)
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

impl TimelineRow {
    fn into_delivery(self, device: DeviceId) -> Result<Delivery, Error> {
        let odd = Error::Inconsistent { table: "receipts", column: "outcomes", row: device.0 };
        let byte = u8::try_from(self.outcome).unwrap_or(u8::MAX);
        let OutcomeByte { status, attempted } = OutcomeByte::decode(byte).ok_or(odd)?;
        let is_pending = status == DeliveryStatus::Pending;
        Ok(Delivery {
            device,
            written_platform: None,
            user: None,
            references: References::default(),
            lane: LaneId(self.lane_id),
            status,
            attempts: attempts(self.attempt, !attempted),
            last_reason: last_reason(self.reason.clone(), self.last_reason, attempted),
            reason: self.reason,
            provider_id: self.provider_id,
            at: (!is_pending).then_some(self.recorded_at),
            next_attempt_at: None,
            is_erased: false,
        })
    }
}

/// Adds how the device was addressed each time.
async fn add_addressing(
    conn: &mut Session,
    device: DeviceId,
    found: &mut [(NotificationId, Delivery)],
) -> Result<(), Error> {
    let ids: Vec<Uuid> = found.iter().map(|(id, _)| id.0).collect();
    let rows = sqlx::query!(
        "select notification_id, user_id, reference from targets where notification_id = any($1) and device_id = $2",
        &ids,
        device.0
    )
    .fetch_all(conn)
    .await?;
    let mut named: HashMap<Uuid, _> =
        rows.into_iter().map(|row| (row.notification_id, (row.user_id, row.reference))).collect();
    for (id, delivery) in found {
        if let Some((user, reference)) = named.remove(&id.0) {
            delivery.user = user.map(UserId::stored);
            delivery.references = References::from_stored(reference.as_deref());
        }
    }
    Ok(())
}

/// Adds the time of the next attempt to pending deliveries.
async fn add_next_attempts(
    conn: &mut Session,
    device: DeviceId,
    found: &mut [(NotificationId, Delivery)],
) -> Result<(), Error> {
    let pending = found.iter().filter(|(_, delivery)| delivery.status == DeliveryStatus::Pending);
    let ids: Vec<Uuid> = pending.map(|(id, _)| id.0).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query!(
        "select notification_id, due_at from jobs
         where notification_id = any($1) and class = 1 and due_at > now() and devices @> array[$2::bigint]",
        &ids,
        device.0
    )
    .fetch_all(conn)
    .await?;
    let due: HashMap<Uuid, _> = rows.into_iter().map(|row| (row.notification_id, row.due_at)).collect();
    for (id, delivery) in found {
        delivery.next_attempt_at = due.get(&id.0).copied();
    }
    Ok(())
}
