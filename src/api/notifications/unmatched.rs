//! Who was addressed in vain: no fault, but named.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::audience::Resolved;

/// How many of each are named.
const NAMED: usize = 100;

/// The `unmatched` member of answers, as it is stored too.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Unmatched {
    users: Vec<String>,
    users_total: usize,
    devices: Vec<String>,
    devices_total: usize,
}

impl Unmatched {
    /// Of an audience.
    pub(super) fn of(resolved: &Resolved) -> Self {
        Self {
            users: resolved.unmatched_users.iter().take(NAMED).map(|user| user.as_str().to_owned()).collect(),
            users_total: resolved.unmatched_users.len(),
            devices: resolved.unmatched_devices.iter().take(NAMED).cloned().collect(),
            devices_total: resolved.unmatched_devices.len(),
        }
    }

    /// As the database keeps it; none if there was nobody.
    pub(super) fn stored(&self) -> Option<Vec<u8>> {
        let anybody = self.users_total + self.devices_total > 0;
        anybody.then(|| serde_json::to_vec(self).ok()).flatten()
    }

    /// From what the database keeps.
    pub(super) fn read(stored: Option<&[u8]>) -> Result<Self, serde_json::Error> {
        stored.map_or_else(|| Ok(Self::default()), serde_json::from_slice)
    }

    /// As answers say it.
    pub(super) fn document(&self) -> Value {
        json!({
            "users": self.users,
            "users_total": self.users_total,
            "devices": self.devices,
            "devices_total": self.devices_total,
        })
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
        let document = unmatched.document();
        assert_eq!(document["users"].as_array().map(Vec::len), Some(100));
        assert_eq!(document["users_total"], 150);
        assert_eq!(document["devices"], json!([]));
        assert_eq!(Unmatched::read(unmatched.stored().as_deref()).expect("as stored"), unmatched);
    }

    #[test]
    fn nobody_is_not_stored() {
        let nobody = Unmatched::of(&Resolved::default());
        assert_eq!(nobody.stored(), None);
        assert_eq!(Unmatched::read(None).expect("nothing stored"), nobody);
    }
}
