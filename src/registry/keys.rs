//! API keys: who a request comes from.

use crate::domain::{AppId, KeyId, Scopes};
use crate::store;

/// A key that was recognised.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its id, which logs may show.
    pub id: KeyId,
    /// Whose.
    pub app: AppId,
    /// What it may do.
    pub scopes: Scopes,
}

/// The keys of this installation, remembered for at most ten seconds. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Keys {}

impl Keys {
    /// The key behind a secret; none if it is unknown or revoked.
    ///
    /// # Errors
    /// Where the database can't be asked.
    pub async fn authenticate(&self, _bearer: &str) -> Result<Option<Key>, store::Error> {
        Ok(None)
    }
}
