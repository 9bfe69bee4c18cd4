//! Storing accepted notifications: one statement, so one transaction and one round trip, for many requests.
//!
//! It touches only new rows and has no foreign keys, so that callers who share it can't wait for anybody
//! (docs/queue.md#poisoned-values, #lock-order). It contains no NOTIFY (docs/queue.md#no-notify-in-transactions).

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Error;
use crate::domain::{DeviceId, JobId, LaneId, NodeId, NotificationId, Priority, Reason};
use crate::store::Session;

/// Columns of many notifications with their jobs, targets, and receipts of targets that ended at once.
#[derive(Debug, Default)]
pub struct AcceptBatch {
    id: Vec<Uuid>,
    app: Vec<i16>,
    priority: Vec<i16>,
    life_secs: Vec<i32>,
    once: Vec<bool>,
    by_user: Vec<bool>,
    targets: Vec<Option<i32>>,
    label: Vec<Option<String>>,
    metadata: Vec<Option<Vec<u8>>>,
    unmatched: Vec<Option<Vec<u8>>>,
    content: Vec<Vec<u8>>,

    job_notification: Vec<Uuid>,
    job_lane: Vec<i32>,
    job_priority: Vec<i16>,
    job_window_secs: Vec<i32>,
    job_node: Vec<Option<i32>>,
    job_start: Vec<i32>,
    job_end: Vec<i32>,
    job_devices: Vec<i64>,

    target_notification: Vec<Uuid>,
    target_device: Vec<i64>,
    target_user: Vec<Option<String>>,
    target_reference: Vec<Option<String>>,

    refused_notification: Vec<Uuid>,
    refused_lane: Vec<i32>,
    refused_reason: Vec<String>,
    refused_start: Vec<i32>,
    refused_end: Vec<i32>,
    refused_devices: Vec<i64>,

    fan_out_notification: Vec<Uuid>,
    fan_out_app: Vec<i16>,
    fan_out_priority: Vec<i16>,
    fan_out_window_secs: Vec<i32>,
    fan_out_targets: Vec<i32>,
    fan_out_audience: Vec<Vec<u8>>,
}

/// One notification's row.
#[derive(Debug)]
pub struct NotificationRow<'a> {
    /// Made from Postgres's clock.
    pub id: NotificationId,
    /// Whose.
    pub app: i16,
    /// Order.
    pub priority: Priority,
    /// Seconds from now until it expires, as the API says it.
    pub life_secs: u32,
    /// Now or never.
    pub once: bool,
    /// Has targets that were addressed through a user.
    pub by_user: bool,
    /// How many devices; none: not all are found yet.
    pub targets: Option<usize>,
    /// Kept and returned.
    pub label: Option<&'a str>,
    /// JSON.
    pub metadata: Option<&'a [u8]>,
    /// JSON.
    pub unmatched: Option<&'a [u8]>,
    /// JSON.
    pub content: Vec<u8>,
}

/// What of a notification's audience is still to be found.
#[derive(Debug)]
pub struct FanOutRow {
    /// Of which notification.
    pub id: NotificationId,
    /// Whose.
    pub app: i16,
    /// Order.
    pub priority: Priority,
    /// Seconds from now until nothing is tried any more.
    pub window_secs: u32,
    /// How many devices are targets already.
    pub targets: usize,
    /// Who else is: JSON.
    pub audience: Vec<u8>,
}

/// A job as it was stored.
#[derive(Debug)]
pub struct StoredJob {
    /// Its row.
    pub id: JobId,
    /// Of which notification.
    pub notification: NotificationId,
    /// In which lane.
    pub lane: LaneId,
    /// Its order.
    pub priority: Priority,
    /// Its first device, which with the two above names it.
    pub first_device: DeviceId,
    /// Since when it may be sent.
    pub due_at: DateTime<Utc>,
    /// When nothing is tried any more.
    pub expires_at: DateTime<Utc>,
}

impl AcceptBatch {
    /// Adds a notification.
    pub fn notification(&mut self, row: NotificationRow<'_>) {
        self.id.push(row.id.0);
        self.app.push(row.app);
        self.priority.push(row.priority.code());
        self.life_secs.push(row.life_secs.cast_signed());
        self.once.push(row.once);
        self.by_user.push(row.by_user);
        self.targets.push(row.targets.map(|targets| i32::try_from(targets).unwrap_or(i32::MAX)));
        self.label.push(row.label.map(str::to_owned));
        self.metadata.push(row.metadata.map(<[u8]>::to_vec));
        self.unmatched.push(row.unmatched.map(<[u8]>::to_vec));
        self.content.push(row.content);
    }

    /// Adds a job of ascending devices, leased to `node` or waiting. `window_secs`: from now until nothing is tried.
    pub fn job(
        &mut self,
        id: NotificationId,
        lane: LaneId,
        priority: Priority,
        window_secs: u32,
        node: Option<NodeId>,
        devices: &[DeviceId],
    ) {
        self.job_notification.push(id.0);
        self.job_lane.push(lane.0);
        self.job_priority.push(priority.code());
        self.job_window_secs.push(window_secs.cast_signed());
        self.job_node.push(node.map(|node| node.0));
        self.job_start.push(position(&self.job_devices) + 1);
        self.job_devices.extend(devices.iter().map(|device| device.0));
        self.job_end.push(position(&self.job_devices));
    }

    /// Adds who a device was addressed through.
    pub fn target(
        &mut self,
        id: NotificationId,
        device: DeviceId,
        user: Option<&str>,
        reference: Option<&str>,
    ) {
        self.target_notification.push(id.0);
        self.target_device.push(device.0);
        self.target_user.push(user.map(str::to_owned));
        self.target_reference.push(reference.map(str::to_owned));
    }

    /// Adds ascending devices of one lane that end `rejected` at once.
    pub fn refused(&mut self, id: NotificationId, lane: LaneId, reason: &Reason, devices: &[DeviceId]) {
        self.refused_notification.push(id.0);
        self.refused_lane.push(lane.0);
        self.refused_reason.push(reason.as_str().to_owned());
        self.refused_start.push(position(&self.refused_devices) + 1);
        self.refused_devices.extend(devices.iter().map(|device| device.0));
        self.refused_end.push(position(&self.refused_devices));
    }
}

impl AcceptBatch {
    /// Adds an audience that is found page by page.
    pub fn fan_out(&mut self, row: FanOutRow) {
        self.fan_out_notification.push(row.id.0);
        self.fan_out_app.push(row.app);
        self.fan_out_priority.push(row.priority.code());
        self.fan_out_window_secs.push(row.window_secs.cast_signed());
        self.fan_out_targets.push(i32::try_from(row.targets).unwrap_or(i32::MAX));
        self.fan_out_audience.push(row.audience);
    }

    /// Is an audience among it that is found page by page?
    pub fn has_fan_outs(&self) -> bool {
        !self.fan_out_notification.is_empty()
    }
}

/// Lengths of flat arrays; a batch is bounded far below what an `i32` holds.
fn position(flat: &[i64]) -> i32 {
    i32::try_from(flat.len()).expect("a batch holds fewer than 2^31 devices")
}

/// Stores a batch. Returns the time of its transaction and its jobs.
///
/// # Errors
/// A poisoned value fails the whole statement and nothing is stored.
pub async fn insert(
    conn: &mut Session,
    batch: &AcceptBatch,
) -> Result<(DateTime<Utc>, Vec<StoredJob>), Error> {
    let rows = sqlx::query!(
        r#"
        with new_notifications as (
          insert into notifications (notification_id, app_id, priority, due_at, expires_at, once, by_user, target_count,
                                     label, metadata, unmatched, content)
          select id, app, priority, now(), now() + make_interval(secs => ttl_secs), once, by_user, target_count,
                 label, metadata, unmatched, content
          from unnest($1::uuid[], $2::smallint[], $3::smallint[], $4::int[], $5::boolean[], $6::boolean[], $7::int[],
                      $8::text[], $9::bytea[], $10::bytea[], $11::bytea[])
            as incoming(id, app, priority, ttl_secs, once, by_user, target_count, label, metadata, unmatched, content)),
        new_targets as (
          insert into targets (notification_id, device_id, user_id, reference)
          select * from unnest($20::uuid[], $21::bigint[], $22::text[], $23::text[])),
        -- Devices that end at once: each is rejected (2) without an attempt (bit 7), all of a receipt for one reason.
        new_receipts as (
          insert into receipts (notification_id, job_id, lane_id, attempt, rejected, shape, first_device, last_device,
                                devices, outcomes, reasons, reason_indexes)
          select id, 0, lane, 1, device_count, shape_of(first_device, last_device, device_count), first_device,
                 last_device, devices, decode(repeat('82', device_count), 'hex'), array[reason],
                 decode(repeat('01', device_count), 'hex')
          from (select id, lane, reason, last - first + 1 as device_count, ($29::bigint[])[first] as first_device,
                       ($29::bigint[])[last] as last_device, ($29::bigint[])[first:last] as devices
                from unnest($24::uuid[], $25::int[], $26::text[], $27::int[], $28::int[])
                  as incoming(id, lane, reason, first, last)) refused),
        new_fan_outs as (
          insert into fan_outs (notification_id, app_id, priority, due_at, expires_at, target_count, audience)
          select id, app, priority, now(), now() + make_interval(secs => window_secs), target_count, audience
          from unnest($30::uuid[], $31::smallint[], $32::smallint[], $33::int[], $34::int[], $35::bytea[])
            as incoming(id, app, priority, window_secs, target_count, audience)),
        new_jobs as (
          insert into jobs (notification_id, lane_id, priority, due_at, expires_at, node_id, device_count, devices)
          select id, lane, priority, now(), now() + make_interval(secs => window_secs), node,
                 (last - first + 1)::smallint, ($19::bigint[])[first:last]
          from unnest($12::uuid[], $13::int[], $14::smallint[], $15::int[], $16::int[], $17::int[], $18::int[])
            as incoming(id, lane, priority, window_secs, node, first, last)
          returning job_id, notification_id, lane_id, priority, devices[1] as first_device, due_at, expires_at)
        -- One row without a job where there are no jobs: the caller needs the time of the transaction.
        select now() as "now!", j.job_id as "job_id?", j.notification_id as "notification_id?", j.lane_id as "lane_id?",
               j.priority as "priority?", j.first_device, j.due_at as "due_at?", j.expires_at as "expires_at?"
        from (select 1) one_row left join new_jobs j on true
        "#,
        &batch.id,
        &batch.app,
        &batch.priority,
        &batch.life_secs,
        &batch.once,
        &batch.by_user,
        &batch.targets as &[Option<i32>],
        &batch.label as &[Option<String>],
        &batch.metadata as &[Option<Vec<u8>>],
        &batch.unmatched as &[Option<Vec<u8>>],
        &batch.content,
        &batch.job_notification,
        &batch.job_lane,
        &batch.job_priority,
        &batch.job_window_secs,
        &batch.job_node as &[Option<i32>],
        &batch.job_start,
        &batch.job_end,
        &batch.job_devices,
        &batch.target_notification,
        &batch.target_device,
        &batch.target_user as &[Option<String>],
        &batch.target_reference as &[Option<String>],
        &batch.refused_notification,
        &batch.refused_lane,
        &batch.refused_reason,
        &batch.refused_start,
        &batch.refused_end,
        &batch.refused_devices,
        &batch.fan_out_notification,
        &batch.fan_out_app,
        &batch.fan_out_priority,
        &batch.fan_out_window_secs,
        &batch.fan_out_targets,
        &batch.fan_out_audience,
    )
    .fetch_all(conn)
    .await?;
    let now = rows.first().map(|row| row.now).ok_or(sqlx::Error::RowNotFound)?;
    let jobs = rows
        .into_iter()
        .filter_map(|row| {
            Some(StoredJob {
                id: JobId(row.job_id?),
                notification: NotificationId(row.notification_id?),
                lane: LaneId(row.lane_id?),
                priority: Priority::from_code(row.priority?)?,
                first_device: DeviceId(row.first_device?),
                due_at: row.due_at?,
                expires_at: row.expires_at?,
            })
        })
        .collect();
    Ok((now, jobs))
}

/// Which of these notifications exist, and since when: asked when the answer to a commit was lost.
pub async fn find(
    conn: &mut Session,
    ids: &[NotificationId],
) -> Result<Vec<(NotificationId, DateTime<Utc>)>, Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = sqlx::query!(
        "select notification_id, created_at from notifications where notification_id = any($1)",
        &ids
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (NotificationId(row.notification_id), row.created_at)).collect())
}
