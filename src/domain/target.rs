//! The target of a delivery. `audience` finds targets and `queue` stores them.

use super::{DeviceId, LaneId, Platform, PushpostReason, Reason, UserId};

/// A device of an audience.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// The id of the device.
    pub device: DeviceId,
    /// The lane that sends to it.
    pub lane: LaneId,
    /// The user through which the device was addressed, if any.
    pub user: Option<UserId>,
    /// The sender's own names for its tokens, repeated in the delivery.
    pub references: References,
    /// The delivery ends `rejected` with this reason and without an attempt: the lane has no credentials, or the token
    /// is of another kind.
    pub refused: Option<Reason>,
}

/// A token without a device, because it can't be read or its platform is not supported. It is a target of its own, which
/// ends `rejected`. The token itself is not kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RejectedToken {
    /// The platform of the request; none: it is not supported.
    pub platform: Option<Platform>,
    /// The platform as the request wrote it; none: it can't be shown.
    pub written_platform: Option<String>,
    /// `BadToken` or `UnsupportedPlatform`.
    pub reason: PushpostReason,
    /// The sender's own name for the token, repeated in the delivery.
    pub reference: Option<String>,
}

/// Most characters of a platform that is shown as the request wrote it.
const WRITTEN_PLATFORM_MAX: usize = 32;

impl RejectedToken {
    /// A platform as the request wrote it, if it is short and printable ASCII.
    pub fn shown_platform(written: &str) -> Option<String> {
        let is_shown = written.len() <= WRITTEN_PLATFORM_MAX && written.bytes().all(|b| b.is_ascii_graphic());
        is_shown.then(|| written.to_owned())
    }
}

/// The sender's own names for one device: one of each token that turned out to be the device, in the order given. None is
/// there twice.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct References(Vec<String>);

/// Stands between stored names. The API refuses names with control characters.
const SEPARATOR: &str = "\n";

impl References {
    /// Adds a name, unless it is there already.
    pub fn add(&mut self, name: String) {
        if !self.0.contains(&name) {
            self.0.push(name);
        }
    }

    /// Adds the names of another token of the same device.
    pub fn merge(&mut self, others: Self) {
        others.0.into_iter().for_each(|name| self.add(name));
    }

    /// The names, in the order given.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// As the database keeps them; none if there are none.
    pub fn to_stored(&self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.0.join(SEPARATOR))
    }

    /// From what the database keeps.
    pub fn from_stored(stored: Option<&str>) -> Self {
        Self(stored.into_iter().flat_map(|names| names.split(SEPARATOR)).map(str::to_owned).collect())
    }
}

impl From<Option<String>> for References {
    fn from(only: Option<String>) -> Self {
        Self(only.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_printable_platform_is_shown() {
        assert_eq!(RejectedToken::shown_platform("hms").as_deref(), Some("hms"));
        for hidden in [&"x".repeat(33), "a b", "h\u{e9}", "a\0"] {
            assert_eq!(RejectedToken::shown_platform(hidden), None, "{hidden}");
        }
    }

    #[test]
    fn names_are_read_as_they_were_stored_each_once() {
        for names in [&[][..], &[""], &["row-1"], &["row-1", "", "row 2"]] {
            let mut references = References::default();
            names.iter().chain(names).for_each(|name| references.add((*name).to_owned()));
            assert_eq!(references.names(), names);
            assert_eq!(References::from_stored(references.to_stored().as_deref()), references);
        }
        assert_eq!(References::default().to_stored(), None);
    }
}
