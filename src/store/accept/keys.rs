//! Idempotency keys of a batch as columns.

use chrono::{DateTime, NaiveDate, Utc};
use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::{Idempotency, IdempotencyKey};
use crate::store::idempotency::StoredAcceptance;

/// A day with keys that were read, and from where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KnownDay {
    /// In UTC, by Postgres's clock.
    pub day: NaiveDate,
    /// When the server that they were read from started.
    pub server_started_at: DateTime<Utc>,
    /// Before the day was read.
    pub read_at: Instant,
}

impl KnownDay {
    /// True: the same day of the same server.
    pub fn is_same_as(&self, other: &Self) -> bool {
        (self.day, self.server_started_at) == (other.day, other.server_started_at)
    }
}

/// The keys of the notifications of a batch: one of each, in the same order. App and number of targets are in the batch.
#[derive(Debug, Default)]
pub struct KeyColumns {
    pub(super) key: Vec<Uuid>,
    pub(super) request: Vec<Uuid>,
    /// None: a column of nulls.
    pub(super) acceptance: Option<Vec<Option<Vec<u8>>>>,
    /// What is known of the day before. None: each key is looked up among those of that day.
    pub(super) known: Option<KnownDay>,
    /// The keys that may be stored on that day.
    pub(super) possible: Vec<Uuid>,
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

    /// Limits the look-up among the keys of `known` to those for which `may_be_stored` is true. Postgres ignores the limit if it is
    /// not the day before, or not what this server has.
    pub fn limit_look_up(&mut self, known: KnownDay, may_be_stored: impl Fn(IdempotencyKey) -> bool) {
        self.known = Some(known);
        let keys = self.key.iter().copied();
        self.possible = keys.filter(|key| may_be_stored(IdempotencyKey(key.into_bytes()))).collect();
    }
}
