//! Stores accepted notifications: one statement, so one transaction and one round trip, for many requests.
//!
//! The statement touches only new rows and no foreign keys, so that requests that share it wait for no other
//! transaction (docs/queue.md#poisoned-values, #lock-order). Notifications with idempotency keys have a statement of their
//! own, because it may wait. It contains no NOTIFY
//! (docs/queue.md#no-notify-in-transactions).

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Error;
use crate::domain::{AppId, DeviceId, Idempotency, JobId, LaneId, NodeId, NotificationId, Priority, Reason};
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

/// The keys of the notifications of a batch: as columns.
#[derive(Debug, Default)]
pub struct KeyRows {
    app: Vec<i16>,
    key: Vec<Vec<u8>>,
    request: Vec<Vec<u8>>,
    notification: Vec<Uuid>,
    answer: Vec<Vec<u8>>,
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

impl StoredJob {
    /// None: the row stands for a notification without jobs.
    fn of(row: InsertedRow) -> Option<Self> {
        Some(Self {
            id: JobId(row.job_id?),
            notification: NotificationId(row.notification_id?),
            lane: LaneId(row.lane_id?),
            priority: Priority::from_code(row.priority?)?,
            first_device: DeviceId(row.first_device?),
            due_at: row.due_at?,
            expires_at: row.expires_at?,
        })
    }
}

impl KeyRows {
    /// Adds the key of a notification of the batch, with the answer that repeats get.
    pub fn add(&mut self, id: NotificationId, app: AppId, idempotency: Idempotency, answer: Vec<u8>) {
        self.notification.push(id.0);
        self.app.push(app.0);
        self.key.push(idempotency.key.0.to_vec());
        self.request.push(idempotency.request.0.to_vec());
        self.answer.push(answer);
    }
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

/// The row of the statement that stores a batch: a job, or none of a notification that was stored without jobs.
struct InsertedRow {
    /// The notification that a key was stored with; none without keys.
    keyed_id: Option<Uuid>,
    job_id: Option<i64>,
    notification_id: Option<Uuid>,
    lane_id: Option<i32>,
    priority: Option<i16>,
    first_device: Option<i64>,
    due_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
}

/// The statement that stores a batch. `$keys` stands before all other parts, `$stored` is the condition under which what
/// belongs to the notification `id` is stored, and `$rows` says where the rows of the answer come from.
macro_rules! insert_batch {
    (keys: $keys:tt, stored: $stored:tt, rows: $rows:tt, $conn:expr, $batch:expr $(, $more:expr)*) => {
        sqlx::query_as!(
            InsertedRow,
            $keys
                + r#"
        new_notifications as (
          insert into notifications (notification_id, app_id, priority, due_at, expires_at, once, by_user, target_count,
                                     label, metadata, unmatched, content)
          select id, app, priority, now(), now() + make_interval(secs => ttl_secs), once, by_user, target_count,
                 label, metadata, unmatched, content
          from unnest($1::uuid[], $2::smallint[], $3::smallint[], $4::int[], $5::boolean[], $6::boolean[], $7::int[],
                      $8::text[], $9::bytea[], $10::bytea[], $11::bytea[])
            as incoming(id, app, priority, ttl_secs, once, by_user, target_count, label, metadata, unmatched, content)
          "#
                + $stored
                + r#"),
        new_targets as (
          insert into targets (notification_id, device_id, user_id, reference)
          select * from unnest($20::uuid[], $21::bigint[], $22::text[], $23::text[])
            as incoming(id, device, user_id, reference)
          "#
                + $stored
                + r#"),
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
                  as incoming(id, lane, reason, first, last)) refused
          "#
                + $stored
                + r#"),
        new_fan_outs as (
          insert into fan_outs (notification_id, app_id, priority, due_at, expires_at, target_count, audience)
          select id, app, priority, now(), now() + make_interval(secs => window_secs), target_count, audience
          from unnest($30::uuid[], $31::smallint[], $32::smallint[], $33::int[], $34::int[], $35::bytea[])
            as incoming(id, app, priority, window_secs, target_count, audience)
          "#
                + $stored
                + r#"),
        new_jobs as (
          insert into jobs (notification_id, lane_id, priority, due_at, expires_at, node_id, device_count, devices)
          select id, lane, priority, now(), now() + make_interval(secs => window_secs), node,
                 (last - first + 1)::smallint, ($19::bigint[])[first:last]
          from unnest($12::uuid[], $13::int[], $14::smallint[], $15::int[], $16::int[], $17::int[], $18::int[])
            as incoming(id, lane, priority, window_secs, node, first, last)
          "#
                + $stored
                + r#"
          returning job_id, notification_id, lane_id, priority, devices[1] as first_device, due_at, expires_at)
        select "#
                + $rows,
            &$batch.id,
            &$batch.app,
            &$batch.priority,
            &$batch.ttl_secs,
            &$batch.once,
            &$batch.by_user,
            &$batch.target_count as &[Option<i32>],
            &$batch.label as &[Option<String>],
            &$batch.metadata as &[Option<Vec<u8>>],
            &$batch.unmatched as &[Option<Vec<u8>>],
            &$batch.content,
            &$batch.job_notification,
            &$batch.job_lane,
            &$batch.job_priority,
            &$batch.job_window_secs,
            &$batch.job_node as &[Option<i32>],
            &$batch.job_start,
            &$batch.job_end,
            &$batch.job_devices,
            &$batch.target_notification,
            &$batch.target_device,
            &$batch.target_user as &[Option<String>],
            &$batch.target_reference as &[Option<String>],
            &$batch.refused_notification,
            &$batch.refused_lane,
            &$batch.refused_reason,
            &$batch.refused_start,
            &$batch.refused_end,
            &$batch.refused_devices,
            &$batch.fan_out_notification,
            &$batch.fan_out_app,
            &$batch.fan_out_priority,
            &$batch.fan_out_window_secs,
            &$batch.fan_out_target_count,
            &$batch.fan_out_audience
            $(, $more)*
        )
        .fetch_all($conn)
    };
}

/// Stores a batch. Returns its jobs.
///
/// # Errors
/// Nothing is stored: Postgres is out of reach, or one value of the batch is poisoned.
pub async fn insert(conn: &mut Session, batch: &AcceptBatch) -> Result<Vec<StoredJob>, Error> {
    let rows = insert_batch!(
        keys: "with",
        stored: "",
        rows: r#"null::uuid as "keyed_id?", j.job_id as "job_id?", j.notification_id as "notification_id?",
                 j.lane_id as "lane_id?", j.priority as "priority?", j.first_device as "first_device?",
                 j.due_at as "due_at?", j.expires_at as "expires_at?"
          from new_jobs j"#,
        conn,
        batch
    )
    .await?;
    Ok(rows.into_iter().filter_map(StoredJob::of).collect())
}

/// The part of a batch with keys that was stored.
#[derive(Debug)]
pub struct StoredKeys {
    /// The notifications with keys that were free. Nothing of the others is stored.
    pub notifications: HashSet<NotificationId>,
    /// The jobs of these notifications.
    pub jobs: Vec<StoredJob>,
}

/// Stores a batch of notifications that each have a key, no two of them the same. A notification is stored only if its
/// key is free. Waits for other transactions that store the same keys.
///
/// Keys are inserted in one order everywhere, so that two transactions that share keys wait for each other and don't
/// deadlock (docs/queue.md#idempotency-keys).
///
/// # Errors
/// Nothing is stored: Postgres is out of reach, one value of the batch is poisoned, or another transaction holds a key.
pub async fn insert_keyed(
    conn: &mut Session,
    batch: &AcceptBatch,
    keys: &KeyRows,
) -> Result<StoredKeys, Error> {
    let rows = insert_batch!(
        keys: r#"
        with new_keys as (
          insert into idempotency_keys (app_id, key_digest, request_digest, notification_id, answer)
          select app, key, request, id, answer
          from unnest($36::smallint[], $37::bytea[], $38::bytea[], $39::uuid[], $40::bytea[])
            as incoming(app, key, request, id, answer)
          order by app, key
          on conflict do nothing
          returning notification_id),"#,
        stored: "where id in (select notification_id from new_keys)",
        rows: r#"k.notification_id as "keyed_id?", j.job_id as "job_id?", j.notification_id as "notification_id?",
                 j.lane_id as "lane_id?", j.priority as "priority?", j.first_device as "first_device?",
                 j.due_at as "due_at?", j.expires_at as "expires_at?"
          from new_keys k
          left join new_jobs j on j.notification_id = k.notification_id"#,
        conn,
        batch,
        &keys.app,
        &keys.key,
        &keys.request,
        &keys.notification,
        &keys.answer
    )
    .await?;
    let notifications = rows.iter().filter_map(|row| row.keyed_id.map(NotificationId)).collect();
    Ok(StoredKeys { notifications, jobs: rows.into_iter().filter_map(StoredJob::of).collect() })
}

/// Which of these notifications exist. Asked when the answer to a commit was lost.
pub async fn find(conn: &mut Session, ids: &[NotificationId]) -> Result<Vec<NotificationId>, Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let found = sqlx::query_scalar!(
        "select notification_id from notifications where notification_id = any($1)",
        &ids
    )
    .fetch_all(conn)
    .await?;
    Ok(found.into_iter().map(NotificationId).collect())
}
