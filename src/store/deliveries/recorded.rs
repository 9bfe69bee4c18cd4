//! What became of the devices of some receipts, of any notifications of an app: for the event log.
//!
//! Each statement asks for one row at a time by its whole key, so that no plan scans (docs/queue.md#stable-plans). What can be missing
//! only where users were erased or tokens were addressed is asked for as a whole before it is asked for device by device: a broadcast
//! has no rows of either kind.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::receipt_rows::{FoundReceipt, found_receipts};
use super::{Delivery, DeliveryFilter, erased};
use crate::domain::{
    AppId, DeliveryCounts, DeliveryStatus, DeviceDetail, LaneId, NotificationId, References, UserId,
};
use crate::store::events::{DEVICES_PER_FACT, EndedNotification, ReceiptId};
use crate::store::partitions::id_span;
use crate::store::{Error, Session, erasures};

/// A receipt of so many devices may be of a broadcast, so its targets are looked for as a whole first.
const BROADCAST_DEVICES: usize = 8;

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

/// A receipt with the deliveries that were asked for.
#[derive(Clone, PartialEq, Debug)]
pub struct ListedReceipt {
    /// What all its devices share.
    pub summary: ReceiptSummary,
    /// Number of devices that the detail asks for.
    pub asked: u64,
    /// Their deliveries. None: the receipts before have too many devices.
    pub devices: Option<Vec<Delivery>>,
    /// The end of its notification, if the scope asks for ends and the receipt alone tells it. None says nothing about the
    /// notification.
    pub end: Option<EndedNotification>,
}

/// What is read of receipts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceiptScope {
    /// Which deliveries are listed.
    pub detail: DeviceDetail,
    /// Deliveries of all receipts together, at most.
    pub devices_max: u64,
    /// Are ends of notifications read too, where a receipt alone tells them?
    pub with_ends: bool,
}

/// Reads receipts of an app's notifications, in the order given, with the deliveries that the scope asks for: of the first receipts that
/// together have at most `devices_max` of them, and always of the first one that has any. A receipt that is not kept any more is left out. Erased
/// users and devices are hidden, as in the list of a notification's deliveries.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn listed_receipts(
    conn: &mut Session,
    app: AppId,
    receipts: &[ReceiptKey],
    scope: ReceiptScope,
) -> Result<Vec<ListedReceipt>, Error> {
    if receipts.is_empty() {
        return Ok(Vec::new());
    }
    let filter = DeliveryFilter { statuses: statuses(scope.detail), ..DeliveryFilter::default() };
    let (mut listed, mut found) = (Vec::new(), Vec::new());
    for FoundReceipt { summary, asked, lists, end } in found_receipts(conn, app, receipts, scope).await? {
        let mut devices = Vec::new();
        if let Some(row) = &lists {
            row.unfold(0, &filter, DEVICES_PER_FACT as usize, &mut devices)?;
        }
        found.extend(devices.into_iter().map(|delivery| (summary.key, delivery)));
        let devices = (lists.is_some() || asked == 0).then(Vec::new);
        listed.push(ListedReceipt { summary, asked, devices, end });
    }
    add_addressing(conn, &mut found).await?;
    hide_erased(conn, app, &mut found).await?;
    let mut by_receipt: HashMap<ReceiptKey, Vec<Delivery>> = HashMap::new();
    for (key, delivery) in found {
        by_receipt.entry(key).or_default().push(delivery);
    }
    for receipt in &mut listed {
        if let (Some(devices), Some(of)) = (&mut receipt.devices, by_receipt.remove(&receipt.summary.key)) {
            *devices = of;
        }
    }
    Ok(listed)
}

/// The outcomes that are listed; empty: all.
fn statuses(detail: DeviceDetail) -> Vec<DeliveryStatus> {
    let ended = DeliveryStatus::ALL.iter().copied();
    match detail {
        DeviceDetail::All | DeviceDetail::None => Vec::new(),
        DeviceDetail::Failed => ended.filter(|status| *status != DeliveryStatus::Accepted).collect(),
    }
}

/// Adds how each device was addressed. The targets of a broadcast are not in a table: of a receipt with many devices it is asked first if its
/// notification has any.
async fn add_addressing(conn: &mut Session, found: &mut [(ReceiptKey, Delivery)]) -> Result<(), Error> {
    let mut sizes: HashMap<NotificationId, usize> = HashMap::new();
    for ((id, _), _) in found.iter() {
        *sizes.entry(*id).or_default() += 1;
    }
    let large =
        sizes.iter().filter(|(_, devices)| **devices >= BROADCAST_DEVICES).map(|(id, _)| id.0).collect();
    let untargeted = without_targets(conn, large).await?;
    let (mut places, mut ids, mut devices) = (Vec::new(), Vec::new(), Vec::new());
    for (place, ((id, _), delivery)) in found.iter().enumerate() {
        if !untargeted.contains(&id.0) {
            places.push(place);
            ids.push(id.0);
            devices.push(delivery.device.0);
        }
    }
    if places.is_empty() {
        return Ok(());
    }
    let (first, last) = id_span(&ids);
    let rows = sqlx::query!(
        r#"select w.place as "place!", t.user_id, t.reference, t.platform
           from unnest($1::uuid[], $2::bigint[]) with ordinality as w(notification_id, device_id, place)
           cross join lateral (
             select user_id, reference, platform from targets
             where notification_id = w.notification_id and device_id = w.device_id and notification_id between $3 and $4 offset 0) t"#,
        &ids,
        &devices,
        first,
        last
    )
    .fetch_all(conn)
    .await?;
    for row in rows {
        let place = usize::try_from(row.place - 1).ok().and_then(|place| places.get(place));
        let Some((_, delivery)) = place.and_then(|place| found.get_mut(*place)) else { continue };
        delivery.user = row.user_id.map(UserId::stored);
        delivery.references = References::from_stored(row.reference.as_deref());
        delivery.written_platform = row.platform;
    }
    Ok(())
}

/// Those of these notifications that have no row in `targets`.
async fn without_targets(conn: &mut Session, ids: Vec<Uuid>) -> Result<HashSet<Uuid>, Error> {
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let (first, last) = id_span(&ids);
    let rows = sqlx::query_scalar!(
        r#"select id as "id!" from unnest($1::uuid[]) as id
           where not exists (select from targets where notification_id = id and notification_id between $2 and $3 offset 0)"#,
        &ids,
        first,
        last
    );
    Ok(rows.fetch_all(conn).await?.into_iter().collect())
}

/// Read last, so that an erasure that was committed before is seen.
async fn hide_erased(
    conn: &mut Session,
    app: AppId,
    found: &mut [(ReceiptKey, Delivery)],
) -> Result<(), Error> {
    let Some(oldest) = found.iter().map(|((id, _), _)| *id).min() else { return Ok(()) };
    let devices: Vec<i64> = found.iter().map(|(_, delivery)| delivery.device.0).collect();
    let devices: HashSet<i64> = erased::erased_since(conn, &devices, oldest).await?.into_iter().collect();
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
