//! Stores accepted notifications: one statement, so one transaction and one round trip, for many requests.
//!
//! The statement touches only new rows and no foreign keys, so that requests that share it wait for no other
//! transaction (docs/queue.md#poisoned-values, #lock-order). It contains no NOTIFY
//! (docs/queue.md#no-notify-in-transactions).

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Error;
use crate::domain::{DeviceId, JobId, LaneId, NodeId, NotificationId, Priority, Reason};
use crate::store::Session;

/// Many notifications, with their jobs, targets, fan-outs, and receipts of devices that end at once: as columns.
#[derive(Debug, Default)]
pub struct AcceptBatch {
    id: Vec<Uuid>,
    app: Vec<i16>,
    priority: Vec<i16>,
    ttl_secs: Vec<i32>,
    once: Vec<bool>,
    by_user: Vec<bool>,
    target_count: Vec<Option<i32>>,
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
    fan_out_target_count: Vec<i32>,
    fan_out_audience: Vec<Vec<u8>>,
}

/// The row of a new notification.
#[derive(Debug)]
pub struct NotificationRow<'a> {
    /// The id, made from Postgres's clock.
    pub id: NotificationId,
    /// The app that sends it.
    pub app: i16,
    /// The priority of its jobs.
    pub priority: Priority,
    /// Seconds from now until it expires.
    pub ttl_secs: u32,
    /// The request had a `ttl` of 0: one attempt, at once or never.
    pub once: bool,
    /// Some targets were addressed through a user.
    pub by_user: bool,
    /// Number of target devices. None: not all are found yet.
    pub target_count: Option<usize>,
    /// The sender's label, kept and returned.
    pub label: Option<&'a str>,
    /// The sender's metadata as JSON, kept and returned.
    pub metadata: Option<&'a [u8]>,
    /// Users and device ids without a target, as JSON.
    pub unmatched: Option<&'a [u8]>,
    /// The validated request as JSON.
    pub content: Vec<u8>,
}

/// The part of a notification's audience that is resolved page by page.
#[derive(Debug)]
pub struct FanOutRow {
    /// The notification that is sent to it.
    pub id: NotificationId,
    /// The app that sends it.
    pub app: i16,
    /// The priority of its jobs.
    pub priority: Priority,
    /// Seconds from now until its jobs expire.
    pub window_secs: u32,
    /// Number of devices that are targets already.
    pub target_count: usize,
    /// The audience as JSON.
    pub audience: Vec<u8>,
}

/// A job as it was stored.
#[derive(Debug)]
pub struct StoredJob {
    /// The number it got.
    pub id: JobId,
    /// The notification that it sends.
    pub notification: NotificationId,
    /// The lane that sends it.
    pub lane: LaneId,
    /// The notification's priority.
    pub priority: Priority,
    /// The first of its devices. With notification and lane it identifies the job.
    pub first_device: DeviceId,
    /// When it may be sent (Postgres's clock).
    pub due_at: DateTime<Utc>,
    /// When no attempt may begin any more (Postgres's clock).
    pub expires_at: DateTime<Utc>,
}

impl AcceptBatch {
    /// Adds a notification.
    pub fn notification(&mut self, row: NotificationRow<'_>) {
        self.id.push(row.id.0);
        self.app.push(row.app);
        self.priority.push(row.priority.code());
        self.ttl_secs.push(row.ttl_secs.cast_signed());
        self.once.push(row.once);
        self.by_user.push(row.by_user);
        self.target_count.push(row.target_count.map(|count| i32::try_from(count).unwrap_or(i32::MAX)));
        self.label.push(row.label.map(str::to_owned));
        self.metadata.push(row.metadata.map(<[u8]>::to_vec));
        self.unmatched.push(row.unmatched.map(<[u8]>::to_vec));
        self.content.push(row.content);
    }

    /// Adds a job of ascending devices: leased to `node`, or waiting. It expires `window_secs` from now.
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

    /// Adds how a device was addressed: through a user, or with a reference of the sender.
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

    /// Adds ascending devices of one lane that end at once: rejected, without an attempt.
    pub fn refused(&mut self, id: NotificationId, lane: LaneId, reason: &Reason, devices: &[DeviceId]) {
        self.refused_notification.push(id.0);
        self.refused_lane.push(lane.0);
        self.refused_reason.push(reason.as_str().to_owned());
        self.refused_start.push(position(&self.refused_devices) + 1);
        self.refused_devices.extend(devices.iter().map(|device| device.0));
        self.refused_end.push(position(&self.refused_devices));
    }

    /// Adds an audience that is resolved page by page.
    pub fn fan_out(&mut self, row: FanOutRow) {
        self.fan_out_notification.push(row.id.0);
        self.fan_out_app.push(row.app);
        self.fan_out_priority.push(row.priority.code());
        self.fan_out_window_secs.push(row.window_secs.cast_signed());
        self.fan_out_target_count.push(i32::try_from(row.target_count).unwrap_or(i32::MAX));
        self.fan_out_audience.push(row.audience);
    }

    /// True if the batch has an audience that is resolved page by page.
    pub fn has_fan_outs(&self) -> bool {
        !self.fan_out_notification.is_empty()
    }
}

/// The length of a flat array as Postgres takes it. A batch is bounded far below 2^31 devices.
fn position(flat: &[i64]) -> i32 {
    i32::try_from(flat.len()).expect("a batch holds fewer than 2^31 devices")
}

/// Stores a batch. Returns the time of its transaction, and its jobs.
///
/// # Errors
/// Nothing is stored: Postgres is out of reach, or one value of the batch is poisoned.
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
        &batch.ttl_secs,
        &batch.once,
        &batch.by_user,
        &batch.target_count as &[Option<i32>],
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
        &batch.fan_out_target_count,
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

/// Which of these notifications exist, and when each was accepted. Asked when the answer to a commit was lost.
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
