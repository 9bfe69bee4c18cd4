//! One burst is one line: a message that is repeated for one lane or route is written once a second, and says how many lines of it
//! were left out (`suppressed`). So are audit lines of requests without an operator's key, by their result, because anyone can cause
//! them. Pure, but for the reading of an event.

use std::collections::HashMap;
use std::fmt::Debug;
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use super::audit::UNKNOWN_KEY;
use super::{ATTEMPT_TARGET, AUDIT_TARGET};

/// A message of one lane or route is written once in this time.
const WINDOW: Duration = Duration::from_secs(1);

/// What is the same in all lines of a burst: the place in the code, and the lane, the route or the result.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct BurstKey(Identifier, String);

/// The bursts that are under way. There are at most as many as messages times lanes, routes and results.
#[derive(Debug, Default)]
pub(super) struct Bursts(HashMap<BurstKey, Burst>);

#[derive(Debug)]
struct Burst {
    /// The end of its present window.
    until: Instant,
    /// Lines since the last one that was written.
    held: u64,
    /// The last of them.
    last: String,
}

impl BurstKey {
    /// None: each such line is written. These are lines without a lane or route, lines for developers, and lines about single
    /// attempts and operators' actions.
    pub(super) fn of(event: &Event<'_>) -> Option<Self> {
        let metadata = event.metadata();
        if metadata.target() == ATTEMPT_TARGET || *metadata.level() > Level::INFO {
            return None;
        }
        let mut subject = Subject::default();
        event.record(&mut subject);
        let repeated = match metadata.target() {
            AUDIT_TARGET => subject.result.filter(|_| subject.is_of_unknown_key),
            _ => subject.place,
        };
        Some(Self(metadata.callsite(), repeated?))
    }
}

/// Finds what an event is about.
#[derive(Default)]
struct Subject {
    /// The lane or the route.
    place: Option<String>,
    /// What came of an action.
    result: Option<String>,
    is_of_unknown_key: bool,
}

impl Visit for Subject {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "lane" | "route" => self.place = Some(value.to_owned()),
            "result" => self.result = Some(value.to_owned()),
            "key" => self.is_of_unknown_key = value == UNKNOWN_KEY,
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if matches!(field.name(), "lane" | "route") {
            self.place = Some(format!("{value:?}"));
        }
    }
}

impl Bursts {
    /// True if the line is to be written now. Else it is held: [`Self::end`] returns the last one that is held.
    pub(super) fn admits(&mut self, key: BurstKey, line: &str, now: Instant) -> bool {
        match self.0.get_mut(&key) {
            Some(burst) => {
                burst.held += 1;
                line.clone_into(&mut burst.last);
                false
            }
            None => {
                self.0.insert(key, Burst { until: now + WINDOW, held: 0, last: String::new() });
                true
            }
        }
    }

    /// Ends the windows that are over. Returns the last line of each that held any; the burst goes on with the next window.
    pub(super) fn end(&mut self, now: Instant) -> Vec<String> {
        let mut lines = Vec::new();
        self.0.retain(|_, burst| {
            let is_over = burst.until <= now;
            if is_over && burst.held > 0 {
                lines.push(with_suppressed(&burst.last, burst.held - 1));
                (burst.until, burst.held) = (now + WINDOW, 0);
                return true;
            }
            !is_over
        });
        lines
    }

    /// The last line of each burst that held any, whatever the time is.
    pub(super) fn end_all(&mut self) -> Vec<String> {
        let held = self.0.drain().map(|(_, burst)| burst).filter(|burst| burst.held > 0);
        held.map(|burst| with_suppressed(&burst.last, burst.held - 1)).collect()
    }

    /// When the next window ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.0.values().map(|burst| burst.until).min()
    }
}

/// Adds the number of lines that were left out before this one.
fn with_suppressed(line: &str, suppressed: u64) -> String {
    match suppressed {
        0 => line.to_owned(),
        _ => with_member(line, "suppressed", suppressed),
    }
}

/// Adds a field at the end of a line, which is JSON or text.
pub(super) fn with_member(line: &str, name: &str, value: impl std::fmt::Display) -> String {
    let line = line.trim_end_matches('\n');
    match line.strip_suffix('}').filter(|_| line.starts_with('{')) {
        Some(json) => format!("{json},\"{name}\":{value}}}\n"),
        None => format!("{line} {name}={value}\n"),
    }
}

#[cfg(test)]
mod tests {
    use tracing::callsite::Callsite as _;

    use super::*;

    fn key(lane: &str) -> BurstKey {
        let callsite = tracing::callsite! { name: "test", kind: tracing::metadata::Kind::EVENT, fields: };
        BurstKey(callsite.metadata().callsite(), lane.to_owned())
    }

    #[test]
    fn a_repeated_line_is_written_once_a_second_with_the_number_of_those_left_out() {
        let (mut bursts, start) = (Bursts::default(), Instant::now());
        let after = |millis| start + Duration::from_millis(millis);
        assert!(bursts.admits(key("shop/fcm"), "{\"n\":1}\n", start));
        assert!(bursts.admits(key("shop/apns-production"), "other\n", start));
        for n in 2..=5 {
            assert!(!bursts.admits(key("shop/fcm"), &format!("{{\"n\":{n}}}\n"), after(n)));
        }
        assert_eq!(bursts.next_end(), Some(after(1_000)));
        assert_eq!(bursts.end(after(999)), [] as [String; 0]);
        assert_eq!(bursts.end(after(1_000)), ["{\"n\":5,\"suppressed\":3}\n"]);
        // The burst goes on: one line in each second.
        assert!(!bursts.admits(key("shop/fcm"), "{\"n\":6}\n", after(1_001)));
        assert_eq!(bursts.end(after(2_000)), ["{\"n\":6}\n"]);
        // A second without a line ends it.
        assert_eq!(bursts.end(after(3_000)), [] as [String; 0]);
        assert_eq!(bursts.next_end(), None);
        assert!(bursts.admits(key("shop/fcm"), "{\"n\":7}\n", after(3_001)));
    }

    #[test]
    fn what_is_held_at_the_end_is_not_lost() {
        let (mut bursts, now) = (Bursts::default(), Instant::now());
        assert!(bursts.admits(key("a"), "first\n", now));
        assert_eq!(bursts.end_all(), [] as [String; 0]);
        assert!(bursts.admits(key("a"), "first\n", now));
        assert!(!bursts.admits(key("a"), "second\n", now));
        assert!(!bursts.admits(key("a"), "third\n", now));
        assert_eq!(bursts.end_all(), ["third suppressed=1\n"]);
    }
}
