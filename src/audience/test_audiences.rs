//! Audiences for the unit tests of this folder.

use crate::domain::{FanOut, FanOutPart, Kind, TopicName};

/// The union of these parts.
pub(super) fn audience(parts: Vec<FanOutPart>) -> FanOut {
    FanOut {
        kind: Kind::Alert,
        platforms: None,
        parts,
        except_users: Vec::new(),
        except_devices: Vec::new(),
        except_topics: Vec::new(),
    }
}

/// A topic by its name.
pub(super) fn topic(name: &str) -> TopicName {
    TopicName::parse(name).expect("a topic")
}
