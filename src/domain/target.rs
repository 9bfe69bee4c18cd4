//! The target of a delivery. `audience` finds targets and `queue` stores them.

use super::{DeviceId, LaneId, Reason, UserId};

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
