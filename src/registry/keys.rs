//! STUB until the registry is merged: what `cli::keys` calls.

use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::domain::{KeyId, Scopes};

/// A key as its owner sees it.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its id, which is not its secret.
    pub id: KeyId,
    /// The name of its app.
    pub app: String,
    /// The owner's own word for it.
    pub name: Option<String>,
    /// What it may do.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// A new key, with its secret.
pub struct Created {
    /// Its id.
    pub id: KeyId,
    /// Shown once.
    pub secret: String,
}

/// STUB.
#[derive(Debug, thiserror::Error)]
#[error("STUB: registry::keys")]
pub struct Error;

/// STUB.
pub async fn create(_: &PgPool, _app: &str, _: Scopes, _name: Option<&str>) -> Result<Created, Error> {
    Err(Error)
}

/// STUB.
pub async fn list(_: &PgPool) -> Result<Vec<Key>, Error> {
    Err(Error)
}

/// STUB.
pub async fn revoke(_: &PgPool, _: KeyId) -> Result<bool, Error> {
    Err(Error)
}
