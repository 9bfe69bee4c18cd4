//! Idempotency keys of a batch as columns.

use chrono::NaiveDate;
use uuid::Uuid;

use crate::domain::{Idempotency, IdempotencyKey};
use crate::store::idempotency::StoredAcceptance;

/// The keys of the notifications of a batch: one of each, in the same order. App and number of targets are in the batch.
#[derive(Debug, Default)]
pub struct KeyColumns {
    pub(super) key: Vec<Uuid>,
    pub(super) request: Vec<Uuid>,
    /// None: a column of nulls.
    pub(super) acceptance: Option<Vec<Option<Vec<u8>>>>,
    /// The day that `suspects` are of. None: each key is looked up among those of the day before.
    pub(super) filtered_day: Option<NaiveDate>,
    /// The keys that may be stored on that day.
    pub(super) suspects: Vec<Uuid>,
}

impl KeyColumns {
    /// Adds the key of the next notification of the batch, with what repeats are answered.
    pub fn add(&mut self, idempotency: Idempotency, acceptance: &StoredAcceptance) {
        let earlier = self.key.len();
        self.key.push(Uuid::from_bytes(idempotency.key.0));
        self.request.push(Uuid::from_bytes(idempotency.request.0));
        if let StoredAcceptance::Other(json) = acceptance {
            self.acceptance.get_or_insert_with(|| vec![None; earlier]).push(Some(json.clone()));
        } else if let Some(acceptance) = &mut self.acceptance {
            acceptance.push(None);
        }
    }

    /// Only those keys are looked up among the keys of `day` of which `may_be_stored` says so, provided that `day` is the day
    /// before.
    pub fn look_up_only(&mut self, day: NaiveDate, may_be_stored: impl Fn(IdempotencyKey) -> bool) {
        self.filtered_day = Some(day);
        let keys = self.key.iter().copied();
        self.suspects = keys.filter(|key| may_be_stored(IdempotencyKey(key.into_bytes()))).collect();
    }
}
