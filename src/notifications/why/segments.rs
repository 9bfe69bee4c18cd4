//! The segments of a device's time. Each begins where the one before ends, whatever the stored times are: clocks may differ
//! after a failover, and times that devices share may be earlier than those of this one.

use chrono::{DateTime, SubsecRound as _, Utc};

use super::{DelayCause, Segment};
use crate::domain::{App, LaneId};
use crate::notifications::history::WaitCause;
use crate::store::deliveries::{CourseEnd, DeviceCourse, RecordedAttempt, WaitingJob};

/// The segments of a course from `created_at` to `until`: at least one.
pub(super) fn of(
    course: &DeviceCourse,
    app: &App,
    created_at: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Vec<Segment> {
    let mut builder = SegmentBuilder { course, app, end: until, reached: created_at, segments: Vec::new() };
    builder.until(course.due_at, DelayCause::Scheduled, None);
    let mut before = None;
    for step in &course.steps {
        builder.wait_ready(before, step.attempt, step.ready_at, step.waited_until());
        builder.wait(step.lane, step.waited_until(), before.filter(|_| step.ready_at.is_none()));
        if step.began_at.is_some() {
            builder.attempt(step);
        }
        before = Some(step);
    }
    let last_lane = match course.end {
        CourseEnd::Waits(WaitingJob { lane, ready_at, attempt }) => {
            builder.wait_ready(before, attempt, ready_at, until);
            builder.wait(lane, until, before.filter(|_| ready_at.is_none()));
            Some(lane)
        }
        CourseEnd::Searching | CourseEnd::WithoutDevice { .. } => {
            builder.until(until, DelayCause::Audience, None);
            None
        }
        CourseEnd::Ended => before.map(|step| step.lane),
    };
    builder.finish(last_lane)
}

struct SegmentBuilder<'a> {
    course: &'a DeviceCourse,
    app: &'a App,
    /// No segment goes beyond it.
    end: DateTime<Utc>,
    /// The end of the last segment.
    reached: DateTime<Utc>,
    segments: Vec<Segment>,
}

impl SegmentBuilder<'_> {
    /// The time before the device could be sent.
    fn wait_ready(
        &mut self,
        before: Option<&RecordedAttempt>,
        attempt: u16,
        ready_at: Option<DateTime<Utc>>,
        waited_until: DateTime<Utc>,
    ) {
        match before {
            // Of a longer history the first attempts were not read.
            None if attempt > 1 => {
                self.until(waited_until, DelayCause::Wait(WaitCause::Backoff), None);
            }
            None => self.until(ready_at.unwrap_or(self.reached), DelayCause::Audience, None),
            Some(before) if before.is_move() => {}
            Some(before) => {
                let ready_at = ready_at.unwrap_or(self.reached);
                self.until(ready_at.min(waited_until), DelayCause::Wait(WaitCause::Backoff), Some(before));
            }
        }
    }

    /// The time in which the device could be sent: what its lane did meanwhile. Where it is not known when the pause after an
    /// attempt ended, `before` is that attempt, and the rest counts as the pause.
    fn wait(&mut self, lane: LaneId, until: DateTime<Utc>, before: Option<&RecordedAttempt>) {
        let before = before.filter(|before| !before.is_move());
        let rest = if before.is_some() { WaitCause::Backoff } else { WaitCause::Queue };
        let stops = self.course.stops.get(&lane).map_or(&[][..], Vec::as_slice);
        for stop in stops {
            if stop.began_at >= until {
                break;
            }
            let ended_at = stop.ended_at.map_or(until, |ended_at| ended_at.min(until));
            if ended_at <= self.reached {
                continue;
            }
            self.rest(stop.began_at, rest, lane, before);
            self.push(Segment {
                reason: stop.reason.clone(),
                ..self.segment(ended_at, DelayCause::Wait(WaitCause::Lane(stop.state)), Some(lane))
            });
        }
        self.rest(until, rest, lane, before);
    }

    fn rest(&mut self, to: DateTime<Utc>, cause: WaitCause, lane: LaneId, before: Option<&RecordedAttempt>) {
        match before {
            Some(_) => self.until(to, DelayCause::Wait(cause), before),
            None => self.push(self.segment(to, DelayCause::Wait(cause), Some(lane))),
        }
    }

    /// An attempt has a segment even if it took no millisecond, because it says what the provider answered.
    fn attempt(&mut self, step: &RecordedAttempt) {
        let segment = Segment {
            attempt: Some(step.attempt),
            reason: step.reason.clone(),
            ..self.segment(step.at, DelayCause::Attempt, Some(step.lane))
        };
        self.reached = segment.to;
        self.segments.push(segment);
    }

    /// A segment up to `to`, after the attempt `before`.
    fn until(&mut self, to: DateTime<Utc>, cause: DelayCause, before: Option<&RecordedAttempt>) {
        let mut segment = self.segment(to, cause, before.map(|before| before.lane));
        segment.attempt = before.map(|before| before.attempt);
        segment.reason = before.and_then(|before| before.reason.clone());
        self.push(segment);
    }

    fn segment(&self, to: DateTime<Utc>, cause: DelayCause, lane: Option<LaneId>) -> Segment {
        Segment {
            cause,
            from: self.reached,
            to: to.trunc_subsecs(3).min(self.end).max(self.reached),
            lane: lane.and_then(|lane| self.app.lane_key(lane)),
            attempt: None,
            reason: None,
            action: None,
        }
    }

    /// Adds a segment, unless it took no time. Continues the last one if both are the same but for their times.
    fn push(&mut self, segment: Segment) {
        if segment.to == segment.from {
            return;
        }
        self.reached = segment.to;
        match self.segments.last_mut() {
            Some(last)
                if (Segment { from: last.from, ..segment.clone() })
                    == (Segment { to: segment.to, ..last.clone() }) =>
            {
                last.to = segment.to;
            }
            _ => self.segments.push(segment),
        }
    }

    fn finish(mut self, last_lane: Option<LaneId>) -> Vec<Segment> {
        self.rest_of_time(last_lane);
        if self.segments.is_empty() {
            let cause =
                if last_lane.is_some() { DelayCause::Wait(WaitCause::Queue) } else { DelayCause::Audience };
            self.segments.push(self.segment(self.reached, cause, last_lane));
        }
        self.segments
    }

    /// The time after the last step of a device of which nothing more is known.
    fn rest_of_time(&mut self, lane: Option<LaneId>) {
        self.push(self.segment(self.end, DelayCause::Wait(WaitCause::Queue), lane));
    }
}
