//! What the segments of a device's time say in plain English: one sentence each, and what an operator can do.

use std::fmt::Write as _;

use chrono::TimeDelta;

use super::{DelayCause, Ending, Segment};
use crate::domain::{DeliveryStatus, LaneState, PushpostReason, lane_advice};
use crate::notifications::history::WaitCause;

/// A shorter wait for room, or for the audience, is as it should be.
const REMARKABLE_WAIT: TimeDelta = TimeDelta::seconds(1);

/// Adds to each segment what an operator can do about it, now or before the next time. `waits`: the last segment lasts.
pub(super) fn add_actions(segments: &mut [Segment], waits: bool) {
    let last = segments.len().saturating_sub(1);
    for (place, segment) in segments.iter_mut().enumerate() {
        segment.action = action(segment, waits && place == last);
    }
}

fn action(segment: &Segment, lasts: bool) -> Option<String> {
    let is_long = segment.duration() >= REMARKABLE_WAIT;
    let DelayCause::Wait(cause) = segment.cause else {
        let is_search = segment.cause == DelayCause::Audience && is_long;
        return is_search.then(|| "Add nodes if audiences are often found late.".to_owned());
    };
    match cause {
        // Nothing is to be done about a lane that an operator stopped, or could only start, and that sends again.
        WaitCause::Lane(LaneState::Paused | LaneState::Suspended) if !lasts => None,
        WaitCause::Lane(state) => lane_advice(segment.lane?, state, segment.reason.as_deref()),
        WaitCause::Queue if is_long => Some(
            "Add nodes, or send with a higher priority. If pushpost queue shows no backlog, the way to the provider or \
             Postgres is slow (docs/runbook.md#postgres-slow)"
                .to_owned(),
        ),
        WaitCause::Backoff if is_long => {
            Some("Look up the reason; other devices may fail with it too (docs/runbook.md#attempts-fail)".to_owned())
        }
        WaitCause::Queue | WaitCause::Backoff => None,
    }
}

/// One sentence per segment. The last one also says how the device ended.
pub(super) fn summary(segments: &[Segment], end: &Ending<'_>) -> String {
    let last = segments.len().saturating_sub(1);
    let mut summary = String::new();
    for (place, segment) in segments.iter().enumerate() {
        if place > 0 {
            summary.push(' ');
        }
        let is_last = place == last;
        summary += &match segment.cause {
            DelayCause::Attempt => attempt(segment, place == 0, end, is_last && end.by_attempt),
            _ => wait(segment, end.at.is_none() && is_last),
        };
        if is_last && end.at.is_some() && !end.by_attempt {
            summary += &ended(end);
        }
        summary.push('.');
    }
    summary
}

fn wait(segment: &Segment, lasts: bool) -> String {
    let lane = segment.lane.map_or_else(|| "a lane that is gone".to_owned(), |lane| format!("lane {lane}"));
    let reason = in_brackets(segment.reason.as_deref());
    let waited = if lasts { "Has waited" } else { "Waited" };
    let was = if lasts { "is" } else { "was" };
    let time = in_words(segment.duration());
    let what = match segment.cause {
        DelayCause::Scheduled => " until the scheduled time".to_owned(),
        DelayCause::Audience => format!(": the audience {was} still being found"),
        DelayCause::Attempt => String::new(),
        DelayCause::Wait(WaitCause::Lane(state)) if state > LaneState::Running => {
            format!(": {lane} {was} {state}{reason}")
        }
        DelayCause::Wait(WaitCause::Backoff) => match segment.attempt {
            Some(attempt) => format!(" after attempt {attempt}{reason}, before the next one"),
            None => " for attempts that are not listed".to_owned(),
        },
        DelayCause::Wait(_) => format!(" for room or a connection in {lane}"),
    };
    // A notification that is not due is no wait for an operator.
    match (segment.cause, lasts) {
        (DelayCause::Scheduled, true) => "Waits until the scheduled time".to_owned(),
        _ => format!("{waited} {time}{what}"),
    }
}

fn attempt(segment: &Segment, is_first: bool, end: &Ending<'_>, is_end: bool) -> String {
    let number = segment.attempt.unwrap_or_default();
    let reason = in_brackets(segment.reason.as_deref());
    match end.status.filter(|_| is_end) {
        Some(status) => {
            let then = if is_first { "" } else { "Then " };
            let sentence = format!("{then}{} at attempt {number}{reason}", status_words(status));
            if is_first { capitalised(&sentence) } else { sentence }
        }
        None if segment.reason.as_deref() == Some(PushpostReason::NoAnswer.as_str()) => {
            format!("Attempt {number} got no answer after {}", in_words(segment.duration()))
        }
        None => format!("Attempt {number} failed after {}{reason}", in_words(segment.duration())),
    }
}

/// How a device ended that did not end with an attempt: a clause at the end of the last sentence.
fn ended(end: &Ending<'_>) -> String {
    match end.status {
        Some(status) => format!("; then {}{}", status_words(status), in_brackets(end.reason)),
        None => "; then no device was found".to_owned(),
    }
}

fn status_words(status: DeliveryStatus) -> &'static str {
    match status {
        DeliveryStatus::TokenDead => "called dead",
        DeliveryStatus::Unknown => "left without an answer",
        status => status.as_str(),
    }
}

fn in_brackets(reason: Option<&str>) -> String {
    reason.map(|reason| format!(" ({reason})")).unwrap_or_default()
}

fn capitalised(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A time in the unit that suits it: the two largest from a minute on.
pub fn in_words(time: TimeDelta) -> String {
    let (millis, seconds) = (time.num_milliseconds(), time.num_seconds());
    let mut words = String::new();
    let written = match seconds {
        ..1 => write!(words, "{millis} ms"),
        1..60 => write!(words, "{}.{} s", seconds, millis % 1000 / 100),
        60..3600 => write!(words, "{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => write!(words, "{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => write!(words, "{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    };
    written.expect("a text can always be written");
    words
}
