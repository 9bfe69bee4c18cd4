//! Accepted notifications as columns, which the statements of [`super`] store.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::JobTerms;

use crate::domain::{
    DeviceId, LaneId, NodeId, NotificationId, Priority, References, RejectedToken, TraceContext, TraceId,
};

/// Many notifications, with their jobs, targets, fan-outs, and receipts of devices that end at once: as columns.
#[derive(Debug, Default)]
pub struct AcceptBatch {
    pub(super) id: Vec<Uuid>,
    pub(super) app: Vec<i16>,
    pub(super) priority: Vec<i16>,
    pub(super) send_at: Vec<Option<DateTime<Utc>>>,
    pub(super) ttl_secs: Vec<i32>,
    pub(super) once: Vec<bool>,
    pub(super) by_user: Vec<bool>,
    pub(super) target_count: Vec<Option<i32>>,
    pub(super) label: Vec<Option<String>>,
    pub(super) metadata: Vec<Option<Vec<u8>>>,
    pub(super) unmatched: Vec<Option<Vec<u8>>>,
    pub(super) content: Vec<Vec<u8>>,
    pub(super) trace_id: Vec<Option<TraceId>>,

    pub(super) job_notification: Vec<Uuid>,
    pub(super) job_lane: Vec<i32>,
    pub(super) job_priority: Vec<i16>,
    pub(super) job_due_at: Vec<Option<DateTime<Utc>>>,
    pub(super) job_window_secs: Vec<i32>,
    pub(super) job_node: Vec<Option<i32>>,
    pub(super) job_start: Vec<i32>,
    pub(super) job_end: Vec<i32>,
    pub(super) job_devices: Vec<i64>,
    pub(super) job_trace: Vec<Option<TraceContext>>,

    pub(super) target_notification: Vec<Uuid>,
    pub(super) target_device: Vec<i64>,
    pub(super) target_user: Vec<Option<String>>,
    pub(super) target_reference: Vec<Option<String>>,
    pub(super) target_platform: Vec<Option<String>>,

    pub(super) refused_notification: Vec<Uuid>,
    pub(super) refused_lane: Vec<i32>,
    pub(super) refused_reason: Vec<String>,
    pub(super) refused_start: Vec<i32>,
    pub(super) refused_end: Vec<i32>,
    pub(super) refused_devices: Vec<i64>,

    pub(super) fan_out_notification: Vec<Uuid>,
    pub(super) fan_out_app: Vec<i16>,
    pub(super) fan_out_priority: Vec<i16>,
    pub(super) fan_out_send_at: Vec<Option<DateTime<Utc>>>,
    pub(super) fan_out_window_secs: Vec<i32>,
    pub(super) fan_out_target_count: Vec<i32>,
    pub(super) fan_out_format: Vec<i16>,
    pub(super) fan_out_audience: Vec<Vec<u8>>,
    pub(super) fan_out_trace: Vec<Option<TraceContext>>,
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
    /// When it is to be sent, as the request says it. A time in the past means at once.
    pub send_at: Option<DateTime<Utc>>,
    /// Seconds from when it is due until it expires.
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
    /// The trace that it is recorded in. None: it is not traced.
    pub trace_id: Option<TraceId>,
}

/// The part of a notification's audience that is resolved after the answer.
#[derive(Debug)]
pub struct FanOutRow {
    /// The notification that is sent to it.
    pub id: NotificationId,
    /// The app that sends it.
    pub app: i16,
    /// The priority of its jobs.
    pub priority: Priority,
    /// When the audience of a scheduled notification is resolved. None: now, page by page.
    pub send_at: Option<DateTime<Utc>>,
    /// Seconds from when it is due until its jobs expire.
    pub window_secs: u32,
    /// Number of devices that are targets already.
    pub target_count: usize,
    /// The format of the audience.
    pub format: i16,
    /// The audience as JSON.
    pub audience: Vec<u8>,
    /// The span that its jobs belong to. None: the notification is not traced.
    pub trace: Option<TraceContext>,
}

impl AcceptBatch {
    /// Adds a notification.
    pub fn notification(&mut self, row: NotificationRow<'_>) {
        self.id.push(row.id.0);
        self.app.push(row.app);
        self.priority.push(row.priority.code());
        self.send_at.push(row.send_at);
        self.ttl_secs.push(row.ttl_secs.cast_signed());
        self.once.push(row.once);
        self.by_user.push(row.by_user);
        self.target_count.push(row.target_count.map(|count| i32::try_from(count).unwrap_or(i32::MAX)));
        self.label.push(row.label.map(str::to_owned));
        self.metadata.push(row.metadata.map(<[u8]>::to_vec));
        self.unmatched.push(row.unmatched.map(<[u8]>::to_vec));
        self.content.push(row.content);
        self.trace_id.push(row.trace_id);
    }

    /// Adds a job of ascending devices: leased to `node`, or waiting.
    pub(super) fn job(
        &mut self,
        id: NotificationId,
        lane: LaneId,
        terms: JobTerms,
        node: Option<NodeId>,
        devices: &[DeviceId],
    ) {
        self.job_notification.push(id.0);
        self.job_lane.push(lane.0);
        self.job_priority.push(terms.priority.code());
        self.job_due_at.push(terms.due_at);
        self.job_window_secs.push(terms.window_secs.cast_signed());
        self.job_trace.push(terms.trace);
        self.job_node.push(node.map(|node| node.0));
        self.job_start.push(position(&self.job_devices) + 1);
        self.job_devices.extend(devices.iter().map(|device| device.0));
        self.job_end.push(position(&self.job_devices));
    }

    /// Adds how a device was addressed: through a user, or with references of the sender
    /// ([`References::to_stored`]).
    pub(super) fn target(
        &mut self,
        id: NotificationId,
        device: DeviceId,
        user: Option<&str>,
        references: Option<String>,
    ) {
        self.target_notification.push(id.0);
        self.target_device.push(device.0);
        self.target_user.push(user.map(str::to_owned));
        self.target_reference.push(references);
        self.target_platform.push(None);
    }

    /// Adds what is kept of a token without a device. `stand_in` takes the place of the device.
    pub(super) fn rejected_token(&mut self, id: NotificationId, stand_in: DeviceId, token: &RejectedToken) {
        self.target(id, stand_in, None, References::from(token.reference.clone()).to_stored());
        if let Some(platform) = self.target_platform.last_mut() {
            platform.clone_from(&token.written_platform);
        }
    }

    /// Adds ascending devices of one lane that end at once: rejected, without an attempt.
    pub(super) fn refused(&mut self, id: NotificationId, lane: LaneId, reason: &str, devices: &[DeviceId]) {
        self.refused_notification.push(id.0);
        self.refused_lane.push(lane.0);
        self.refused_reason.push(reason.to_owned());
        self.refused_start.push(position(&self.refused_devices) + 1);
        self.refused_devices.extend(devices.iter().map(|device| device.0));
        self.refused_end.push(position(&self.refused_devices));
    }

    /// The devices that end at once: notification, lane and number, for each receipt.
    pub(super) fn refused_devices(&self) -> impl Iterator<Item = (NotificationId, LaneId, u64)> + '_ {
        let counts = self
            .refused_start
            .iter()
            .zip(&self.refused_end)
            .map(|(start, end)| (end - start + 1).unsigned_abs());
        let names = self.refused_notification.iter().zip(&self.refused_lane);
        names.zip(counts).map(|((id, lane), count)| (NotificationId(*id), LaneId(*lane), count.into()))
    }

    /// Adds an audience that is resolved after the answer.
    pub fn fan_out(&mut self, row: FanOutRow) {
        self.fan_out_notification.push(row.id.0);
        self.fan_out_app.push(row.app);
        self.fan_out_priority.push(row.priority.code());
        self.fan_out_send_at.push(row.send_at);
        self.fan_out_window_secs.push(row.window_secs.cast_signed());
        self.fan_out_target_count.push(i32::try_from(row.target_count).unwrap_or(i32::MAX));
        self.fan_out_format.push(row.format);
        self.fan_out_audience.push(row.audience);
        self.fan_out_trace.push(row.trace);
    }

    /// True if something of the batch ends at once: devices that are rejected, or a notification without targets.
    pub(super) fn has_facts(&self) -> bool {
        let open: HashSet<&Uuid> = self.job_notification.iter().chain(&self.fan_out_notification).collect();
        !self.refused_notification.is_empty() || self.id.iter().any(|id| !open.contains(id))
    }

    /// True if the batch has an audience that is resolved now, page by page.
    pub fn has_due_fan_outs(&self) -> bool {
        self.fan_out_send_at.iter().any(Option::is_none)
    }
}

/// A column of traces. None if no trace is recorded, which costs the statement nothing: Postgres takes null for a column of
/// nulls.
pub(super) fn trace_column(traces: &[Option<TraceContext>]) -> Option<Vec<Option<Vec<u8>>>> {
    column_of_some(traces, |trace| trace.to_stored().to_vec())
}

/// The same for the ids of traces.
pub(super) fn trace_id_column(ids: &[Option<TraceId>]) -> Option<Vec<Option<Vec<u8>>>> {
    column_of_some(ids, |id| id.0.to_vec())
}

fn column_of_some<T: Copy>(
    values: &[Option<T>],
    to_stored: impl Fn(T) -> Vec<u8>,
) -> Option<Vec<Option<Vec<u8>>>> {
    let is_any = values.iter().any(Option::is_some);
    is_any.then(|| values.iter().map(|value| value.map(&to_stored)).collect())
}

/// The length of a flat array as Postgres takes it. A batch is bounded far below 2^31 devices.
fn position(flat: &[i64]) -> i32 {
    i32::try_from(flat.len()).expect("a batch holds fewer than 2^31 devices")
}
