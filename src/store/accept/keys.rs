//! Idempotency keys of a batch as columns.

use uuid::Uuid;

use crate::domain::{AppId, Idempotency, NotificationId};
use crate::store::idempotency::StoredAcceptance;

/// The keys of the notifications of a batch, in any order.
#[derive(Debug, Default)]
pub struct KeyRows(Vec<KeyRow>);

#[derive(Debug)]
struct KeyRow {
    key: Uuid,
    app: i16,
    request: Uuid,
    notification: Uuid,
    acceptance: StoredAcceptance,
}

/// The same as columns, in the order of key and app.
#[derive(Debug, Default)]
pub(super) struct KeyColumns {
    pub(super) key: Vec<Uuid>,
    pub(super) app: Vec<i16>,
    pub(super) request: Vec<Uuid>,
    pub(super) notification: Vec<Uuid>,
    pub(super) target_count: Vec<Option<i32>>,
    /// None: a column of nulls.
    pub(super) acceptance: Option<Vec<Option<Vec<u8>>>>,
}

impl KeyRows {
    /// Adds the key of a notification of the batch, with what repeats are answered.
    pub fn add(
        &mut self,
        notification: NotificationId,
        app: AppId,
        idempotency: Idempotency,
        acceptance: StoredAcceptance,
    ) {
        self.0.push(KeyRow {
            key: Uuid::from_bytes(idempotency.key.0),
            app: app.0,
            request: Uuid::from_bytes(idempotency.request.0),
            notification: notification.0,
            acceptance,
        });
    }

    /// All transactions store keys in this order, so that two of them don't deadlock.
    pub(super) fn into_sorted_columns(mut self) -> KeyColumns {
        self.0.sort_unstable_by_key(|row| (row.key, row.app));
        let rows = self.0.len();
        let mut columns = KeyColumns {
            key: Vec::with_capacity(rows),
            app: Vec::with_capacity(rows),
            request: Vec::with_capacity(rows),
            notification: Vec::with_capacity(rows),
            target_count: Vec::with_capacity(rows),
            acceptance: None,
        };
        for (place, row) in self.0.into_iter().enumerate() {
            columns.key.push(row.key);
            columns.app.push(row.app);
            columns.request.push(row.request);
            columns.notification.push(row.notification);
            let (target_count, other) = match row.acceptance {
                StoredAcceptance::Complete { targets } => (Some(targets), None),
                StoredAcceptance::Other(json) => (None, Some(json)),
            };
            columns.target_count.push(target_count);
            if let Some(json) = other {
                columns.acceptance.get_or_insert_with(|| vec![None; rows])[place] = Some(json);
            }
        }
        columns
    }
}
