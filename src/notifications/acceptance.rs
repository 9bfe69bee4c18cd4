//! What the answer to an accepted request says, and how it is kept with an idempotency key.

use serde::{Deserialize, Serialize};

use crate::audience::Unmatched;
use crate::domain::NotificationStatus;
use crate::store::Error;
use crate::store::idempotency::StoredAcceptance;

/// What is known of a notification when it is accepted. A repeat with the same idempotency key is answered from what was kept
/// of it, whatever became of the notification since.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Acceptance {
    /// `Queued`, `Scheduled`, or `Done` if there is no device to send to.
    pub status: NotificationStatus,
    /// Number of devices; none while a large or later audience is still to be expanded.
    pub targets: Option<usize>,
    /// Users and devices of the audience that were not found; none while the audience is still to be expanded.
    pub unmatched: Option<Unmatched>,
}

impl Acceptance {
    /// As the database keeps it.
    pub fn to_stored(&self) -> StoredAcceptance {
        let complete = match self {
            Self {
                status: NotificationStatus::Queued,
                targets: Some(targets),
                unmatched: Some(unmatched),
            } if unmatched.is_empty() => i32::try_from(*targets).ok(),
            _ => None,
        };
        match complete {
            Some(targets) => StoredAcceptance::Complete { targets },
            None => {
                StoredAcceptance::Other(serde_json::to_vec(self).expect("strings and numbers become JSON"))
            }
        }
    }

    /// From what the database keeps.
    ///
    /// # Errors
    /// It is not what [`Self::to_stored`] writes.
    pub fn from_stored(stored: &StoredAcceptance) -> Result<Self, Error> {
        match stored {
            StoredAcceptance::Complete { targets } => Ok(Self {
                status: NotificationStatus::Queued,
                targets: Some(usize::try_from(*targets).unwrap_or_default()),
                unmatched: Some(Unmatched::default()),
            }),
            StoredAcceptance::Other(json) => serde_json::from_slice(json).map_err(|_| Error::Inconsistent {
                table: "idempotency_keys",
                column: "acceptance",
                row: 0,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_an_answer_says_is_kept() {
        let vain = Unmatched { users: vec!["u8".to_owned()], users_total: 1, ..Unmatched::default() };
        for status in NotificationStatus::ALL.iter().copied() {
            for targets in [None, Some(0), Some(1), Some(5_000_000_000)] {
                for unmatched in [None, Some(Unmatched::default()), Some(vain.clone())] {
                    let acceptance = Acceptance { status, targets, unmatched };
                    let kept = Acceptance::from_stored(&acceptance.to_stored()).expect("as stored");
                    assert_eq!(kept, acceptance);
                }
            }
        }
    }

    #[test]
    fn what_most_answers_say_takes_no_json() {
        let acceptance = Acceptance {
            status: NotificationStatus::Queued,
            targets: Some(7),
            unmatched: Some(Unmatched::default()),
        };
        assert_eq!(acceptance.to_stored(), StoredAcceptance::Complete { targets: 7 });
    }
}
