//! Why a push was late: the time from the acceptance of a notification to the end of one device, cut into segments that each
//! have a cause.

mod segments;
#[cfg(test)]
mod tests;
mod words;

pub use words::in_words;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};

use super::history::WaitCause;
use crate::domain::{App, AppId, DeliveryStatus, DeviceId, LaneKey, NotificationId, TraceId};
use crate::store;
use crate::store::SessionPool;
use crate::store::deliveries::{CourseEnd, DeviceCourse};

/// What became of a device, and what the time until then went to.
#[derive(Clone, PartialEq, Debug)]
pub struct Why {
    /// The device. None: it was erased, it stands for a token without a device, or none was found.
    pub device: Option<DeviceId>,
    /// What became of it. None: the notification has ended, and it has no device.
    pub status: Option<DeliveryStatus>,
    /// When the notification was accepted.
    pub created_at: DateTime<Utc>,
    /// When it was due.
    pub due_at: DateTime<Utc>,
    /// The trace that the notification is recorded in. None: it is not traced.
    pub trace_id: Option<TraceId>,
    /// When the device ended. None: it waits.
    pub ended_at: Option<DateTime<Utc>>,
    /// The sum of all segments.
    pub total: TimeDelta,
    /// Whether the times are those of this device.
    pub precision: Precision,
    /// At least one. Each begins where the one before ends, from `created_at` to `ended_at`, or to now. All times are whole
    /// milliseconds.
    pub segments: Vec<Segment>,
    /// One sentence per segment.
    pub summary: String,
}

/// What the times of the segments are those of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precision {
    /// Those of the device.
    Device,
    /// Those of a receipt that the device shares with others: an attempt begins with the first of them.
    Receipt,
}

/// A part of the time, with one cause.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    /// What the time went to.
    pub cause: DelayCause,
    /// When it began.
    pub from: DateTime<Utc>,
    /// When it ended. Of a device that waits, the last segment ends now.
    pub to: DateTime<Utc>,
    /// The device's lane. None: it had none yet, or the lane is not configured any more.
    pub lane: Option<LaneKey>,
    /// Of an attempt: its number. Of a back-off: the number of the attempt before.
    pub attempt: Option<u16>,
    /// What the provider said: about the device, or about the lane.
    pub reason: Option<String>,
    /// What an operator can do. None: nothing.
    pub action: Option<String>,
}

/// What a segment of a device's time went to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DelayCause {
    /// The notification was not due.
    Scheduled,
    /// The audience was still being found.
    Audience,
    /// The device waited.
    Wait(WaitCause),
    /// An attempt was under way, or its outcome was being recorded.
    Attempt,
}

/// Tells why a device of an app's notification was late; without `device`, the device that has waited longest, or else ended
/// last. None: the app has no such notification, or the notification has no such device.
///
/// # Errors
/// The database can't be read.
pub async fn find(
    pool: &SessionPool,
    app: &App,
    id: NotificationId,
    device: Option<DeviceId>,
) -> Result<Option<Why>, store::Error> {
    let course = store::deliveries::course(pool, app.id, id, device).await?;
    Ok(course.map(|course| Why::of(&course, app)))
}

/// True if the app has this notification. It tells an unknown device from an unknown notification.
///
/// # Errors
/// The database can't be read.
pub async fn is_of_app(pool: &SessionPool, app: AppId, id: NotificationId) -> Result<bool, store::Error> {
    store::deliveries::exists(pool, app, id).await
}

impl Why {
    /// What a course says.
    pub fn of(course: &DeviceCourse, app: &App) -> Self {
        let end = ending(course);
        let created_at = course.created_at.trunc_subsecs(3);
        let until = end.at.unwrap_or(course.now).trunc_subsecs(3).max(created_at);
        let mut segments = segments::of(course, app, created_at, until);
        words::add_actions(&mut segments, end.at.is_none());
        let is_shared = course.steps.iter().any(|step| step.is_shared);
        Self {
            device: course.device,
            status: end.status,
            created_at,
            due_at: course.due_at.trunc_subsecs(3),
            trace_id: course.trace_id,
            ended_at: end.at.map(|_| until),
            total: until - created_at,
            precision: if is_shared { Precision::Receipt } else { Precision::Device },
            summary: words::summary(&segments, &end),
            segments,
        }
    }
}

/// How a device ended, or that it waits.
struct Ending<'a> {
    status: Option<DeliveryStatus>,
    /// None: the device waits.
    at: Option<DateTime<Utc>>,
    reason: Option<&'a str>,
    /// The last segment is the attempt that it ended with.
    by_attempt: bool,
}

fn ending(course: &DeviceCourse) -> Ending<'_> {
    let open = Ending { status: Some(DeliveryStatus::Pending), at: None, reason: None, by_attempt: false };
    match (&course.end, course.steps.last()) {
        (CourseEnd::Ended, Some(last)) if last.status != DeliveryStatus::Pending => Ending {
            status: Some(last.status),
            at: Some(last.at),
            reason: last.reason.as_deref(),
            by_attempt: last.began_at.is_some(),
        },
        (CourseEnd::WithoutDevice { at, is_cancelled }, _) => {
            let status = is_cancelled.then_some(DeliveryStatus::Cancelled);
            Ending { status, at: Some(*at), ..open }
        }
        // A job and receipts come from one snapshot. After a failover that lost the job, the device has no end.
        (CourseEnd::Ended | CourseEnd::Waits(_) | CourseEnd::Searching, _) => open,
    }
}

impl Precision {
    /// Every text of [`Self::as_str`].
    pub const ALL: &[&str] = &["device", "receipt"];

    /// The text in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Receipt => "receipt",
        }
    }
}

impl DelayCause {
    /// Every text of [`Self::as_str`].
    pub const ALL: &[&str] = &[
        "scheduled",
        "audience",
        "lane_paused",
        "lane_suspended",
        "lane_broken",
        "lane_throttled",
        "queue",
        "attempt",
        "backoff",
    ];

    /// The text in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Audience => "audience",
            Self::Wait(cause) => cause.as_str(),
            Self::Attempt => "attempt",
        }
    }
}

impl Segment {
    /// How long it took.
    pub fn duration(&self) -> TimeDelta {
        self.to - self.from
    }
}
