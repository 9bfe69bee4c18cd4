//! The idempotency keys of the requests that are under way on this node.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::{AppId, IdempotencyKey};

/// A key of an app.
type AppKey = (AppId, IdempotencyKey);

/// The keys under way. Cheap to clone; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct InFlightKeys(Arc<Mutex<HashSet<AppKey>>>);

/// A key under way. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct InFlightKey {
    keys: InFlightKeys,
    key: AppKey,
}

impl InFlightKeys {
    /// Enters a key. None: a request with the same key is under way.
    pub(super) fn enter(&self, app: AppId, key: IdempotencyKey) -> Option<InFlightKey> {
        let is_new = self.lock().insert((app, key));
        is_new.then(|| InFlightKey { keys: self.clone(), key: (app, key) })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<AppKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InFlightKey {
    fn drop(&mut self) {
        self.keys.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_under_way_until_its_request_ends() {
        let keys = InFlightKeys::default();
        let key = |text| IdempotencyKey::parse(text).expect("a key");
        let first = keys.enter(AppId(1), key("k"));
        assert!(first.is_some() && keys.enter(AppId(1), key("k")).is_none());
        assert!(keys.enter(AppId(2), key("k")).is_some(), "keys belong to an app");
        assert!(keys.enter(AppId(1), key("l")).is_some());
        drop(first);
        assert!(keys.enter(AppId(1), key("k")).is_some());
    }
}
