//! Users and devices of an audience that led to no target. That is no fault: answers name them.

use serde::{Deserialize, Serialize};

use super::Resolved;

/// How many users and how many devices are named; all are counted.
const NAMED_MAX: usize = 100;

/// The `unmatched` member of answers, which is stored as JSON with the notification.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Unmatched {
    /// The first 100 users without a device that became a target.
    pub users: Vec<String>,
    /// The number of such users.
    pub users_total: usize,
    /// The first 100 device ids that are unknown.
    pub devices: Vec<String>,
    /// The number of such ids.
    pub devices_total: usize,
}

impl Unmatched {
    /// What a resolved audience did not find.
    pub fn of(resolved: &Resolved) -> Self {
        let users = resolved.unmatched_users.iter().take(NAMED_MAX);
        Self {
            users: users.map(|user| user.as_str().to_owned()).collect(),
            users_total: resolved.unmatched_users.len(),
            devices: resolved.unmatched_devices.iter().take(NAMED_MAX).cloned().collect(),
            devices_total: resolved.unmatched_devices.len(),
        }
    }

    /// Devices that a request named in vain, by their public ids.
    pub fn of_devices(ids: &[&str]) -> Self {
        let named = ids.iter().take(NAMED_MAX).map(|id| (*id).to_owned()).collect();
        Self { devices: named, devices_total: ids.len(), ..Self::default() }
    }

    /// As the database keeps it; none if everything was found.
    pub fn to_stored(&self) -> Option<Vec<u8>> {
        (!self.is_empty()).then(|| serde_json::to_vec(self).ok()).flatten()
    }

    /// True if everything was found.
    pub fn is_empty(&self) -> bool {
        self.users_total + self.devices_total == 0
    }

    /// From what the database keeps.
    ///
    /// # Errors
    /// The bytes are not what [`Self::to_stored`] writes.
    pub fn from_stored(stored: Option<&[u8]>) -> Result<Self, serde_json::Error> {
        stored.map_or_else(|| Ok(Self::default()), serde_json::from_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::UserId;

    #[test]
    fn the_first_hundred_are_named_and_all_are_counted() {
        let users = (0..150).filter_map(|n| UserId::parse(&format!("u{n}"))).collect();
        let resolved = Resolved { unmatched_users: users, ..Resolved::default() };
        let unmatched = Unmatched::of(&resolved);
        assert_eq!((unmatched.users.len(), unmatched.users_total), (100, 150));
        assert_eq!((unmatched.devices.len(), unmatched.devices_total), (0, 0));
        assert_eq!(Unmatched::from_stored(unmatched.to_stored().as_deref()).expect("as stored"), unmatched);
    }

    #[test]
    fn a_complete_match_is_not_stored() {
        let nothing = Unmatched::of(&Resolved::default());
        assert_eq!(nothing.to_stored(), None);
        assert_eq!(Unmatched::from_stored(None).expect("nothing stored"), nothing);
    }
}
