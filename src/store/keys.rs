//! API keys. Only the digests of their secrets are stored.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Error;
use crate::domain::{AppId, KeyId, Scopes};
use crate::store::Session;

/// A key as the command line lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyRow {
    /// The key's public id, which is not its secret.
    pub id: KeyId,
    /// The name of its app.
    pub app: String,
    /// A name to recognise the key by.
    pub name: Option<String>,
    /// The permissions of the key.
    pub scopes: Scopes,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was revoked. None: it is valid.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// A key that was not revoked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ValidKey {
    /// The key's public id.
    pub id: KeyId,
    /// The app that the key belongs to.
    pub app: AppId,
    /// The permissions of the key.
    pub scopes: Scopes,
}

/// Stores a key by the SHA-256 of its secret.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn insert(
    conn: &mut Session,
    key: ValidKey,
    name: Option<&str>,
    digest: &[u8; 32],
) -> Result<(), Error> {
    sqlx::query!(
        "insert into api_keys (key_id, app_id, name, secret_digest, scopes) values ($1, $2, $3, $4, $5)",
        key.id.0,
        key.app.0,
        name,
        digest,
        key.scopes.code()
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The key with this digest, if there is one and it was not revoked.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn find_valid(conn: &mut Session, digest: &[u8; 32]) -> Result<Option<ValidKey>, Error> {
    let row = sqlx::query!(
        "select key_id, app_id, scopes from api_keys where secret_digest = $1 and revoked_at is null",
        digest
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| ValidKey {
        id: KeyId(row.key_id),
        app: AppId(row.app_id),
        scopes: Scopes::from_code(row.scopes),
    }))
}

/// All keys, also revoked ones, the oldest first.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn list(conn: &mut Session) -> Result<Vec<KeyRow>, Error> {
    let rows = sqlx::query!(
        "select k.key_id, a.name as app, k.name, k.scopes, k.created_at, k.revoked_at
         from api_keys k join apps a using (app_id) order by k.created_at, k.key_id"
    )
    .fetch_all(conn)
    .await?;
    let key = rows.into_iter().map(|row| KeyRow {
        id: KeyId(row.key_id),
        app: row.app,
        name: row.name,
        scopes: Scopes::from_code(row.scopes),
        created_at: row.created_at,
        revoked_at: row.revoked_at,
    });
    Ok(key.collect())
}

/// Revokes a key. A key that is revoked already stays revoked since the first time. False: there is no key with this
/// id.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn revoke(conn: &mut Session, id: KeyId) -> Result<bool, Error> {
    let id: Uuid = id.0;
    let done =
        sqlx::query!("update api_keys set revoked_at = coalesce(revoked_at, now()) where key_id = $1", id);
    Ok(done.execute(conn).await?.rows_affected() == 1)
}
