//! Lists the deliveries of a notification: the outcome of each device, page by page.
//!
//! Pending devices come first, from the jobs; then the ended ones, from the receipts. In this order no device is missed
//! that leaves its job between two pages: its receipt is committed when the receipts are read. The device may appear
//! twice, with the final outcome last. Each page comes from one snapshot.

mod attempts;
mod course;
mod erased;
mod receipt_rows;
mod recorded;
mod timeline;
mod unfold;

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use super::Error;
use super::sessions::begin_with;
use crate::domain::{AppId, DeliveryStatus, DeviceId, LaneId, NotificationId, References, UserId};
use crate::store::{Session, SessionPool};
pub use attempts::{ATTEMPTS_MAX, LaneStop, RecordedAttempt, RecordedAttempts};
pub use course::{CourseEnd, DeviceCourse, WaitingJob, course};
pub use recorded::{ListedReceipt, ReceiptKey, ReceiptScope, ReceiptSummary, listed_receipts};
pub use timeline::timeline;
use unfold::{JobRow, ReceiptRow};

/// One device of one notification.
#[derive(Clone, PartialEq, Debug)]
pub struct Delivery {
    /// The device's id, or what stands for a rejected token ([`DeviceId::is_device`]).
    pub device: DeviceId,
    /// Of a rejected token: its platform, as the request wrote it.
    pub written_platform: Option<String>,
    /// The user that the device was addressed through.
    pub user: Option<UserId>,
    /// The sender's own references for the device.
    pub references: References,
    /// The lane that sends to it.
    pub lane: LaneId,
    /// The outcome, or `pending`.
    pub status: DeliveryStatus,
    /// Number of attempts that have ended.
    pub attempts: u16,
    /// Why it is not accepted: the provider's reason, or ours.
    pub reason: Option<String>,
    /// The last reason that an attempt gave, whatever came of the device.
    pub last_reason: Option<String>,
    /// FCM's message name; APNs's ids are derived.
    pub provider_id: Option<String>,
    /// When the device ended. None: it is pending.
    pub at: Option<DateTime<Utc>>,
    /// When it is tried next, if that time is in the future.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// The device or the user was erased: no answer names either.
    pub is_erased: bool,
}

/// Which deliveries of a notification are listed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeliveryFilter {
    /// Those with any of these outcomes; empty: all.
    pub statuses: Vec<DeliveryStatus>,
    /// Those addressed through any of these users; empty: all.
    pub users: Vec<UserId>,
    /// Those to any of these devices. None: all.
    pub devices: Option<Vec<DeviceId>>,
}

/// The place at which a page begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeliveryPosition {
    /// Among the jobs.
    Job {
        /// The first job with devices that were not listed yet.
        job: i64,
        /// Number of its devices that were passed.
        passed: i32,
    },
    /// Among the receipts.
    Receipt {
        /// The first receipt with devices that were not listed yet.
        receipt: i64,
        /// Number of its devices that were passed.
        passed: i32,
    },
}

impl DeliveryPosition {
    /// The beginning of the list.
    pub const START: Self = Self::Job { job: 0, passed: 0 };
}

/// A page of deliveries.
#[derive(Clone, PartialEq, Debug)]
pub struct Deliveries {
    /// The deliveries, at most as many as asked for.
    pub items: Vec<Delivery>,
    /// Where the next page begins. None: this is the last page.
    pub next: Option<DeliveryPosition>,
    /// The attempts at the devices of these deliveries, if they were asked for.
    pub attempts: Option<RecordedAttempts>,
}

/// Number of jobs or receipts that are read at a time: few at first, because each may fill several pages; then more.
const ROWS: [i64; 2] = [4, 16];
/// Number of jobs or receipts that are read at a time after the first two times.
const ROWS_MAX: i64 = 64;

/// True if the app has a notification with this id.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn exists(pool: &SessionPool, app: AppId, id: NotificationId) -> Result<bool, Error> {
    let row =
        sqlx::query!("select from notifications where notification_id = $1 and app_id = $2", id.0, app.0)
            .fetch_optional(pool)
            .await?;
    Ok(row.is_some())
}

/// Reads up to `limit` deliveries from `from` on, and the attempts at their devices if `has_attempts`. The caller has checked
/// that the notification belongs to the app.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn page(
    pool: &SessionPool,
    app: AppId,
    id: NotificationId,
    filter: &DeliveryFilter,
    from: DeliveryPosition,
    limit: usize,
    has_attempts: bool,
) -> Result<Deliveries, Error> {
    let mut snapshot = begin_with(pool, "begin isolation level repeatable read read only").await?;
    let mut wanted = filter.clone();
    if let Some(devices) = wanted.devices.take() {
        wanted.devices = Some(erased::without_erased(&mut snapshot, devices).await?);
    }
    if !filter.users.is_empty() {
        let users = erased::without_hidden(&mut snapshot, app, id, &filter.users).await?;
        let of_users = devices_of(&mut snapshot, id, &users).await?;
        let of_users = erased::without_erased(&mut snapshot, of_users).await?;
        wanted.devices = Some(match &wanted.devices {
            Some(some) => of_users.into_iter().filter(|device| some.contains(device)).collect(),
            None => of_users,
        });
    }
    let mut builder = PageBuilder { id, filter: &wanted, limit, items: Vec::new() };
    let next = builder.fill(&mut snapshot, from).await?;
    let mut items = builder.items;
    add_addressing(&mut snapshot, id, &mut items).await?;
    erased::hide(&mut snapshot, app, id, &mut items).await?;
    let attempts = match has_attempts {
        true => Some(attempts::read(&mut snapshot, app, id, &items).await?),
        false => None,
    };
    snapshot.rollback().await?;
    Ok(Deliveries { items, next, attempts })
}

/// A page while it is filled.
struct PageBuilder<'a> {
    id: NotificationId,
    filter: &'a DeliveryFilter,
    limit: usize,
    items: Vec<Delivery>,
}

impl PageBuilder<'_> {
    async fn fill(
        &mut self,
        conn: &mut Session,
        from: DeliveryPosition,
    ) -> Result<Option<DeliveryPosition>, Error> {
        if self.filter.devices.as_ref().is_some_and(Vec::is_empty) {
            return Ok(None);
        }
        let receipts_from = match from {
            DeliveryPosition::Job { job, passed } => {
                if self.filter.admits(DeliveryStatus::Pending)
                    && let Some(next) = self.fill_pending(conn, job, passed).await?
                {
                    return Ok(Some(next));
                }
                (0, 0)
            }
            DeliveryPosition::Receipt { receipt, passed } => (receipt, passed),
        };
        self.fill_final(conn, receipts_from).await
    }

    async fn fill_pending(
        &mut self,
        conn: &mut Session,
        mut from: i64,
        mut passed: i32,
    ) -> Result<Option<DeliveryPosition>, Error> {
        let mut rows = ROWS.into_iter();
        loop {
            let jobs = jobs(conn, self.id, from, self.filter, rows.next().unwrap_or(ROWS_MAX)).await?;
            let Some(last) = jobs.last().map(|row| row.job_id) else { return Ok(None) };
            for row in jobs {
                let skip = if row.job_id == from { passed } else { 0 };
                if let Some(passed) = row.unfold(skip, self.filter, self.limit, &mut self.items) {
                    return Ok(Some(DeliveryPosition::Job { job: row.job_id, passed }));
                }
            }
            (from, passed) = (last + 1, 0);
        }
    }

    async fn fill_final(
        &mut self,
        conn: &mut Session,
        (mut from, mut passed): (i64, i32),
    ) -> Result<Option<DeliveryPosition>, Error> {
        let mut rows = ROWS.into_iter();
        loop {
            let receipts =
                receipts(conn, self.id, from, self.filter, rows.next().unwrap_or(ROWS_MAX)).await?;
            let Some(last) = receipts.last().map(|row| row.receipt_id) else { return Ok(None) };
            for row in receipts {
                let skip = if row.receipt_id == from { passed } else { 0 };
                if let Some(passed) = row.unfold(skip, self.filter, self.limit, &mut self.items)? {
                    return Ok(Some(DeliveryPosition::Receipt { receipt: row.receipt_id, passed }));
                }
            }
            (from, passed) = (last + 1, 0);
        }
    }
}

impl DeliveryFilter {
    fn admits(&self, status: DeliveryStatus) -> bool {
        self.statuses.is_empty() || self.statuses.contains(&status)
    }

    fn admits_device(&self, device: i64) -> bool {
        self.devices.as_ref().is_none_or(|some| some.contains(&DeviceId(device)))
    }

    fn device_numbers(&self) -> Option<Vec<i64>> {
        self.devices.as_ref().map(|some| some.iter().map(|device| device.0).collect())
    }
}

/// Jobs of a notification from a number on that have one of the devices.
///
/// In two steps: in one step, a plan that is made while there are no jobs walks over the jobs of all notifications from
/// that number on.
async fn jobs(
    conn: &mut Session,
    id: NotificationId,
    from: i64,
    filter: &DeliveryFilter,
    most: i64,
) -> Result<Vec<JobRow>, Error> {
    let devices = filter.device_numbers();
    let rows = sqlx::query_as!(
        JobRow,
        r#"with own_jobs as materialized (select job_id from jobs where notification_id = $1)
           select job_id, lane_id, attempt, devices, done,
                  case lane_state(paused_at, suspended_at, state)
                    when 4 then 'lane_paused' when 3 then 'lane_suspended'
                    -- A device that is not due waits for its own time, and one that is leased is being tried.
                    when 2 then case when node_id is null and due_at <= now() then 'lane_broken' else last_reason end
                    when 1 then case when node_id is null and due_at <= now() then 'lane_throttled' else last_reason end
                    else last_reason end as reason,
                  last_reason,
                  case when due_at > now() then due_at end as next_attempt_at
           from jobs join lanes using (lane_id)
           where job_id = any(array(select job_id from own_jobs where job_id >= $2))
             and ($3::bigint[] is null or devices && $3)
           order by job_id limit $4"#,
        id.0,
        from,
        devices.as_deref(),
        most
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Receipts of a notification from a number on that have one of the devices and one of the final outcomes.
async fn receipts(
    conn: &mut Session,
    id: NotificationId,
    from: i64,
    filter: &DeliveryFilter,
    most: i64,
) -> Result<Vec<ReceiptRow>, Error> {
    let devices = filter.device_numbers();
    let rows = sqlx::query_as!(
        ReceiptRow,
        r#"select receipt_id, lane_id, recorded_at, attempt, devices, outcomes, reasons as "reasons: Vec<Option<String>>",
                  reason_indexes, last_reason, provider_ids as "provider_ids: Vec<Option<String>>"
           from receipts
           where notification_id = $1 and receipt_id >= $2 and ($3::bigint[] is null or devices && $3)
             and ($5 and accepted > 0 or $6 and rejected > 0 or $7 and token_dead > 0
                  or $8 and expired > 0 or $9 and cancelled > 0 or $10 and unknown > 0)
           order by receipt_id limit $4"#,
        id.0,
        from,
        devices.as_deref(),
        most,
        filter.admits(DeliveryStatus::Accepted),
        filter.admits(DeliveryStatus::Rejected),
        filter.admits(DeliveryStatus::TokenDead),
        filter.admits(DeliveryStatus::Expired),
        filter.admits(DeliveryStatus::Cancelled),
        filter.admits(DeliveryStatus::Unknown)
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// The devices that were addressed through any of these users.
async fn devices_of(
    conn: &mut Session,
    id: NotificationId,
    users: &[UserId],
) -> Result<Vec<DeviceId>, Error> {
    let users: Vec<String> = users.iter().map(|user| user.as_str().to_owned()).collect();
    let rows = sqlx::query!(
        "select device_id from targets where notification_id = $1 and user_id = any($2)",
        id.0,
        &users
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| DeviceId(row.device_id)).collect())
}

/// Adds how each device was addressed.
async fn add_addressing(conn: &mut Session, id: NotificationId, items: &mut [Delivery]) -> Result<(), Error> {
    let devices: Vec<i64> = items.iter().map(|item| item.device.0).collect();
    let rows = sqlx::query!(
        "select device_id, user_id, reference, platform from targets where notification_id = $1 and device_id = any($2)",
        id.0,
        &devices
    )
    .fetch_all(conn)
    .await?;
    let named: HashMap<i64, _> = rows.into_iter().map(|row| (row.device_id, row)).collect();
    for item in items {
        if let Some(row) = named.get(&item.device.0) {
            item.user = row.user_id.clone().map(UserId::stored);
            item.references = References::from_stored(row.reference.as_deref());
            item.written_platform.clone_from(&row.platform);
        }
    }
    Ok(())
}
