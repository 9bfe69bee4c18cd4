//! Stores accepted notifications: one statement, so one transaction and one round trip, for many requests.
//!
//! The statement touches only new rows and no foreign keys, so that requests that share it wait for no other
//! transaction (docs/queue.md#poisoned-values, #lock-order). It contains no NOTIFY
//! (docs/queue.md#no-notify-in-transactions). Notifications with idempotency keys have a statement of their own, because
//! it may wait.

mod batch;
mod keys;
mod targets;

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use uuid::Uuid;

pub use batch::{AcceptBatch, FanOutRow, NotificationRow};
pub use keys::{KeyColumns, KnownDay};
pub use targets::JobTerms;

use super::Error;
use crate::domain::{DeliveryStatus, DeviceId, JobId, LaneId, NotificationId, Priority};
use crate::store::Session;
use batch::{trace_column, trace_id_column};

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
    /// None: the row stands for a notification that is not stored.
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

/// The row of the statement that stores a batch: a job, or a notification that is not stored.
struct InsertedRow {
    /// The notification that is not stored, because its key is taken; none for a job.
    taken_id: Option<Uuid>,
    job_id: Option<i64>,
    notification_id: Option<Uuid>,
    lane_id: Option<i32>,
    priority: Option<i16>,
    first_device: Option<i64>,
    due_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
}

/// The statement that stores a batch. `$keys` stands before all other parts, `$stored` is the condition under which what
/// belongs to the notification `id` is stored, and `$rows` says where the rows of the answer come from. `$facts` is `silent`, or
/// `telling` if something of the batch ends at once, which the event log tells. Most batches are silent and pay nothing for it.
macro_rules! insert_batch {
    (keys: $keys:tt, stored: $stored:tt, facts: silent, $($rest:tt)*) => {
        insert_batch!(keys: $keys, stored: $stored, facts: (""), $($rest)*)
    };
    (keys: $keys:tt, stored: $stored:tt, facts: telling, $($rest:tt)*) => {
        insert_batch!(
            keys: $keys,
            stored: $stored,
            facts: (r#",
        incoming_apps as materialized (
          select id, app from unnest($1::uuid[], $2::smallint[]) as incoming(id, app)
          "# + $stored + r#"),
        -- The receipts, then the notifications that have neither a job nor an audience that is yet to be found.
        new_facts as (
          insert into event_outbox (app_id, kind, notifications, receipts)
          select app, 1, array_agg(id order by receipt_id nulls last), 
                 coalesce(array_agg(receipt_id order by receipt_id) filter (where receipt_id is not null), '{}')
          from (select coalesce((select app from incoming_apps where id = r.notification_id),
                                (select app_id from lanes l where l.lane_id = r.lane_id)) as app,
                       r.notification_id as id, r.receipt_id
                from new_receipts r
                union all
                select app, id, null from incoming_apps
                where id not in (select unnest($12::uuid[])) and id not in (select unnest($30::uuid[]))) ended
          where logs_events() group by app)"#),
            $($rest)*
        )
    };
    (keys: $keys:tt, stored: $stored:tt, facts: ($($facts:tt)*), rows: $rows:tt, $conn:expr, $batch:expr $(, $more:expr)*) => {
        sqlx::query_as!(
            InsertedRow,
            $keys
                + r#"
        new_notifications as (
          insert into notifications (notification_id, app_id, priority, send_at, due_at, expires_at, once, by_user,
                                     target_count, label, metadata, unmatched, content, trace_id)
          select id, app, priority, send_at, greatest(send_at, now()),
                 greatest(send_at, now()) + make_interval(secs => ttl_secs), once, by_user, target_count,
                 label, metadata, unmatched, content, trace_id
          from unnest($1::uuid[], $2::smallint[], $3::smallint[], $4::int[], $5::boolean[], $6::boolean[], $7::int[],
                      $8::text[], $9::bytea[], $10::bytea[], $11::bytea[], $38::timestamptz[], $43::bytea[])
            as incoming(id, app, priority, ttl_secs, once, by_user, target_count, label, metadata, unmatched, content, send_at,
                        trace_id)
          "#
                + $stored
                + r#"),
        new_targets as (
          insert into targets (notification_id, device_id, user_id, reference, platform)
          select * from unnest($20::uuid[], $21::bigint[], $22::text[], $23::text[], $37::text[])
            as incoming(id, device, user_id, reference, platform)
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
                + r#"
          returning notification_id, receipt_id, lane_id),
        new_fan_outs as (
          insert into fan_outs (notification_id, app_id, priority, due_at, expires_at, target_count, format, audience,
                                is_scheduled, trace)
          select id, app, priority, greatest(send_at, now()), greatest(send_at, now()) + make_interval(secs => window_secs),
                 target_count, format, audience, send_at is not null, trace
          from unnest($30::uuid[], $31::smallint[], $32::smallint[], $33::int[], $34::int[], $35::smallint[],
                      $36::bytea[], $39::timestamptz[], $42::bytea[])
            as incoming(id, app, priority, window_secs, target_count, format, audience, send_at, trace)
          "#
                + $stored
                + r#"),
        new_jobs as (
          insert into jobs (notification_id, lane_id, priority, due_at, expires_at, node_id, trace, device_count, devices, found_at)
          select id, lane, priority, coalesce(due_at, now()), coalesce(due_at, now()) + make_interval(secs => window_secs),
                 node, trace, (last - first + 1)::smallint, ($19::bigint[])[first:last],
                 case when due_at is not null then now() end
          from unnest($12::uuid[], $13::int[], $14::smallint[], $15::int[], $16::int[], $17::int[], $18::int[],
                      $40::timestamptz[], $41::bytea[])
            as incoming(id, lane, priority, window_secs, node, first, last, due_at, trace)
          "#
                + $stored
                + r#"
          returning job_id, notification_id, lane_id, priority, devices[1] as first_device, due_at, expires_at)
        "#
                + $($facts)*
                + r#"
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
            &$batch.fan_out_format,
            &$batch.fan_out_audience,
            &$batch.target_platform as &[Option<String>],
            &$batch.send_at as &[Option<DateTime<Utc>>],
            &$batch.fan_out_send_at as &[Option<DateTime<Utc>>],
            &$batch.job_due_at as &[Option<DateTime<Utc>>],
            trace_column(&$batch.job_trace) as Option<Vec<Option<Vec<u8>>>>,
            trace_column(&$batch.fan_out_trace) as Option<Vec<Option<Vec<u8>>>>,
            trace_id_column(&$batch.trace_id) as Option<Vec<Option<Vec<u8>>>>
            $(, $more)*
        )
        .fetch_all(&mut *$conn)
    };
}

/// Stores a batch. Returns its jobs.
///
/// # Errors
/// Nothing is stored: Postgres is out of reach, or one value of the batch is poisoned.
pub async fn insert(conn: &mut Session, batch: &AcceptBatch) -> Result<Vec<StoredJob>, Error> {
    macro_rules! rows {
        ($facts:ident) => {
            insert_batch!(
                keys: "with",
                stored: "",
                facts: $facts,
                rows: r#"null::uuid as "taken_id?", j.job_id as "job_id?", j.notification_id as "notification_id?",
                         j.lane_id as "lane_id?", j.priority as "priority?", j.first_device as "first_device?",
                         j.due_at as "due_at?", j.expires_at as "expires_at?"
                  from new_jobs j"#,
                conn,
                batch
            )
            .await?
        };
    }
    let has_facts = batch.has_facts();
    let rows = if has_facts { rows!(telling) } else { rows!(silent) };
    if has_facts {
        conn.note_events();
    }
    for (_, lane, devices) in batch.refused_devices() {
        conn.count_delivery(lane, DeliveryStatus::Rejected, devices);
    }
    Ok(rows.into_iter().filter_map(StoredJob::of).collect())
}

/// What became of a batch with keys.
#[derive(Debug)]
pub struct StoredKeys {
    /// The notifications with keys that were taken: nothing of them is stored.
    pub taken: HashSet<NotificationId>,
    /// The jobs of the others.
    pub jobs: Vec<StoredJob>,
}

/// Stores a batch of notifications that each have a key. A notification is stored only if its key is free. Waits for other
/// transactions that store the same keys.
///
/// Keys are inserted in one order everywhere, so that two transactions that share keys wait for each other and don't
/// deadlock (docs/queue.md#idempotency-keys).
///
/// # Errors
/// Nothing is stored: Postgres is out of reach, one value of the batch is poisoned, or another transaction holds a key.
pub async fn insert_keyed(
    conn: &mut Session,
    batch: &AcceptBatch,
    keys: KeyColumns,
) -> Result<StoredKeys, Error> {
    macro_rules! rows {
        ($facts:ident) => {
            insert_batch!(
                keys: r#"
        with keys as materialized (
          select store_idempotency_keys(now(), $2::smallint[], $44::uuid[], $45::uuid[], $1::uuid[], $7::int[],
                                        $46::bytea[], $47, $48, $49, $50::uuid[]) as taken),"#,
                stored: "where id <> all ((select taken from keys)::uuid[])",
                facts: $facts,
                rows: r#"null::uuid as "taken_id?", j.job_id as "job_id?", j.notification_id as "notification_id?",
                         j.lane_id as "lane_id?", j.priority as "priority?", j.first_device as "first_device?",
                         j.due_at as "due_at?", j.expires_at as "expires_at?"
                  from new_jobs j
                  union all
                  select unnest(taken), null, null, null, null, null, null, null from keys"#,
                conn,
                batch,
                &keys.key,
                &keys.request,
                keys.acceptance as Option<Vec<Option<Vec<u8>>>>,
                keys.known.map(|known| known.day),
                keys.known.map(|known| known.server_started_at),
                keys.known.map(|known| known.read_at.elapsed().as_secs_f64()),
                &keys.possible
            )
            .await?
        };
    }
    let has_facts = batch.has_facts();
    let rows = if has_facts { rows!(telling) } else { rows!(silent) };
    if has_facts {
        conn.note_events();
    }
    let taken: HashSet<_> = rows.iter().filter_map(|row| row.taken_id.map(NotificationId)).collect();
    for (_, lane, devices) in batch.refused_devices().filter(|(id, ..)| !taken.contains(id)) {
        conn.count_delivery(lane, DeliveryStatus::Rejected, devices);
    }
    Ok(StoredKeys { taken, jobs: rows.into_iter().filter_map(StoredJob::of).collect() })
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
