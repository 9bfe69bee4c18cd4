//! Stores when API keys were last used, to the hour. Requests only note a use in memory, and only if they look a key up and
//! its row does not have the present hour yet.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::domain::KeyId;
use crate::store;
use crate::store::SessionPool;

/// The pause after a failure.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Keys that were used within the present hour, while their rows do not say so.
#[derive(Debug, Default)]
pub struct KeyUses {
    unstored: Mutex<HashSet<KeyId>>,
    noted: Notify,
}

impl KeyUses {
    /// Notes a use. Waits for nothing.
    pub(super) fn note(&self, key: KeyId) {
        self.unstored().insert(key);
        self.noted.notify_one();
    }

    /// Stores uses as they are noted, until `stop`.
    pub async fn run(&self, pool: SessionPool, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.noted.notified() => {}
            }
            if let Err(error) = self.store(&pool).await {
                tracing::debug!(%error, "last uses of keys are not stored");
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = sleep(RETRY_PAUSE) => {}
                }
            }
        }
    }

    async fn store(&self, pool: &SessionPool) -> Result<(), store::Error> {
        let keys: Vec<KeyId> = self.unstored().drain().collect();
        if keys.is_empty() {
            return Ok(());
        }
        let stored = match pool.acquire().await {
            Ok(mut conn) => store::keys::store_uses(&mut conn, &keys).await,
            Err(error) => Err(error.into()),
        };
        if stored.is_err() {
            self.unstored().extend(keys);
            self.noted.notify_one();
        }
        stored
    }

    fn unstored(&self) -> std::sync::MutexGuard<'_, HashSet<KeyId>> {
        self.unstored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
