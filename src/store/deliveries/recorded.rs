//! What became of the devices of some receipts, of any notifications of an app: for the event log.
//!
//! Each statement asks for one row at a time by its whole key, so that no plan scans (docs/queue.md#stable-plans).

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::unfold::ReceiptRow;
use super::{Delivery, DeliveryFilter, erased};
use crate::domain::{AppId, DeliveryCounts, LaneId, NotificationId, References, UserId};
use crate::store::events::ReceiptId;
use crate::store::{Error, Session, erasures};

/// A receipt by its whole key.
pub type ReceiptKey = (NotificationId, ReceiptId);

/// A receipt without its devices.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReceiptSummary {
    /// Which receipt it is.
    pub key: ReceiptKey,
    /// The sender's label of the notification.
    pub label: Option<String>,
    /// The lane of its devices.
    pub lane: LaneId,
    /// The number of the attempt.
    pub attempt: u16,
    /// Its final outcomes.
    pub counts: DeliveryCounts,
}

/// Reads receipts of an app's notifications without their devices, in the order given. A receipt that is not kept any more is left out.
///
/// # Errors
/// Postgres is out of reach.
pub async fn receipt_summaries(
    conn: &mut Session,
    app: AppId,
    receipts: &[ReceiptKey],
) -> Result<Vec<ReceiptSummary>, Error> {
    if receipts.is_empty() {
        return Ok(Vec::new());
    }
    let (ids, numbers) = columns(receipts);
    let rows = sqlx::query!(
        r#"select w.notification_id as "notification_id!", w.receipt_id as "receipt_id!", r.lane_id, r.attempt, r.accepted,
                  r.rejected, r.token_dead, r.expired, r.cancelled, r.unknown, n.label as "label?"
           from unnest($1::uuid[], $2::bigint[]) with ordinality as w(notification_id, receipt_id, place)
           cross join lateral (
             select lane_id, attempt, accepted, rejected, token_dead, expired, cancelled, unknown from receipts
             where notification_id = w.notification_id and receipt_id = w.receipt_id offset 0) r
           left join lateral (
             select label from notifications
             where notification_id = w.notification_id and app_id = $3 offset 0) n on true
           order by w.place"#,
        &ids,
        &numbers,
        app.0
    )
    .fetch_all(conn)
    .await?;
    let count = |number: i16| u64::try_from(number).unwrap_or_default();
    let summaries = rows.into_iter().map(|row| ReceiptSummary {
        key: (NotificationId(row.notification_id), ReceiptId(row.receipt_id)),
        label: row.label,
        lane: LaneId(row.lane_id),
        attempt: u16::try_from(row.attempt).unwrap_or_default(),
        counts: DeliveryCounts {
            pending: 0,
            accepted: count(row.accepted),
            unknown: count(row.unknown),
            rejected: count(row.rejected),
            token_dead: count(row.token_dead),
            expired: count(row.expired),
            cancelled: count(row.cancelled),
        },
    });
    Ok(summaries.collect())
}

/// The final outcomes of these receipts of an app that the filter lets pass, device by device; at most `most` of each receipt.
/// Erased users and devices are hidden, as in the list of a notification's deliveries.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn of_receipts(
    conn: &mut Session,
    app: AppId,
    receipts: &[ReceiptKey],
    filter: &DeliveryFilter,
    most: usize,
) -> Result<HashMap<ReceiptKey, Vec<Delivery>>, Error> {
    if receipts.is_empty() {
        return Ok(HashMap::new());
    }
    let mut found = Vec::new();
    for (key, row) in rows(conn, receipts).await? {
        let mut items = Vec::new();
        row.unfold(0, filter, most, &mut items)?;
        found.extend(items.into_iter().map(|item| (key, item)));
    }
    add_addressing(conn, &mut found).await?;
    hide_erased(conn, app, &mut found).await?;
    let mut by_receipt: HashMap<ReceiptKey, Vec<Delivery>> = HashMap::new();
    for (key, delivery) in found {
        by_receipt.entry(key).or_default().push(delivery);
    }
    Ok(by_receipt)
}

async fn rows(conn: &mut Session, receipts: &[ReceiptKey]) -> Result<Vec<(ReceiptKey, ReceiptRow)>, Error> {
    let (ids, numbers) = columns(receipts);
    let rows = sqlx::query!(
        r#"select w.notification_id as "notification_id!", r.receipt_id, r.lane_id, r.recorded_at, r.attempt, r.devices,
                  r.outcomes, r.reasons as "reasons: Vec<Option<String>>", r.reason_indexes, r.last_reason,
                  r.provider_ids as "provider_ids: Vec<Option<String>>"
           from unnest($1::uuid[], $2::bigint[]) as w(notification_id, receipt_id)
           cross join lateral (
             select receipt_id, lane_id, recorded_at, attempt, devices, outcomes, reasons, reason_indexes, last_reason,
                    provider_ids
             from receipts where notification_id = w.notification_id and receipt_id = w.receipt_id offset 0) r"#,
        &ids,
        &numbers
    )
    .fetch_all(conn)
    .await?;
    let rows = rows.into_iter().map(|row| {
        let key = (NotificationId(row.notification_id), ReceiptId(row.receipt_id));
        let row = ReceiptRow {
            receipt_id: row.receipt_id,
            lane_id: row.lane_id,
            recorded_at: row.recorded_at,
            attempt: row.attempt,
            devices: row.devices,
            outcomes: row.outcomes,
            reasons: row.reasons,
            reason_indexes: row.reason_indexes,
            last_reason: row.last_reason,
            provider_ids: row.provider_ids,
        };
        (key, row)
    });
    Ok(rows.collect())
}

/// Adds how each device was addressed.
async fn add_addressing(conn: &mut Session, found: &mut [(ReceiptKey, Delivery)]) -> Result<(), Error> {
    let (ids, devices): (Vec<Uuid>, Vec<i64>) =
        found.iter().map(|((id, _), delivery)| (id.0, delivery.device.0)).unzip();
    let rows = sqlx::query!(
        r#"select w.place as "place!", t.user_id, t.reference, t.platform
           from unnest($1::uuid[], $2::bigint[]) with ordinality as w(notification_id, device_id, place)
           cross join lateral (
             select user_id, reference, platform from targets
             where notification_id = w.notification_id and device_id = w.device_id offset 0) t"#,
        &ids,
        &devices
    )
    .fetch_all(conn)
    .await?;
    for row in rows {
        let place = usize::try_from(row.place - 1).unwrap_or(usize::MAX);
        let Some((_, delivery)) = found.get_mut(place) else { continue };
        delivery.user = row.user_id.map(UserId::stored);
        delivery.references = References::from_stored(row.reference.as_deref());
        delivery.written_platform = row.platform;
    }
    Ok(())
}

/// Read last, so that an erasure that was committed before is seen.
async fn hide_erased(
    conn: &mut Session,
    app: AppId,
    found: &mut [(ReceiptKey, Delivery)],
) -> Result<(), Error> {
    let devices: Vec<i64> = found.iter().map(|(_, delivery)| delivery.device.0).collect();
    let devices: HashSet<i64> = erased::erased_devices(conn, &devices).await?.into_iter().collect();
    let named = found.iter().filter_map(|((id, _), delivery)| Some((*id, delivery.user.clone()?))).collect();
    let users = erasures::erased_among(conn, app, named).await?;
    for ((id, _), delivery) in found {
        let is_hidden = delivery.user.as_ref().is_some_and(|user| users.contains(&(*id, user.clone())));
        if is_hidden || devices.contains(&delivery.device.0) {
            delivery.erase();
        }
    }
    Ok(())
}

fn columns(receipts: &[ReceiptKey]) -> (Vec<Uuid>, Vec<i64>) {
    receipts.iter().map(|(id, receipt)| (id.0, receipt.0)).unzip()
}
