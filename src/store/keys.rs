//! API keys. Only the digests of their secrets are stored.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Error;
use super::events::{self, NewFact};
use crate::domain::{AppId, FactKind, KeyFact, KeyId, Scopes};
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
    /// From when on it is refused. None: it does not expire.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked. None: it was not.
    pub revoked_at: Option<DateTime<Utc>>,
    /// The hour in which it was last used. None: never.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// A key that is neither revoked nor expired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ValidKey {
    /// The key's public id.
    pub id: KeyId,
    /// The app that the key belongs to.
    pub app: AppId,
    /// The permissions of the key.
    pub scopes: Scopes,
}

/// A valid key, as a look-up finds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FoundKey {
    /// What the key is and may do.
    pub key: ValidKey,
    /// A use of the key within the present hour is stored already.
    pub use_is_stored: bool,
}

/// Stores a key by the SHA-256 of its secret, and tells the event log of it, in a transaction. Returns when the key expires, which
/// is `lifetime_secs` from now.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn insert(
    conn: &mut Session,
    key: ValidKey,
    name: Option<&str>,
    digest: &[u8; 32],
    lifetime_secs: Option<f64>,
) -> Result<Option<DateTime<Utc>>, Error> {
    let expires_at = sqlx::query_scalar!(
        "insert into api_keys (key_id, app_id, name, secret_digest, scopes, expires_at)
         values ($1, $2, $3, $4, $5, now() + make_interval(secs => $6)) returning expires_at",
        key.id.0,
        key.app.0,
        name,
        digest,
        key.scopes.code(),
        lifetime_secs
    );
    let mut transaction = conn.begin().await?;
    let expires_at = expires_at.fetch_one(&mut *transaction).await?;
    let fact = key_fact(key.id, name, key.scopes);
    let new = NewFact { app: key.app, kind: FactKind::KeyCreated, devices: &[], fact };
    events::append(&mut transaction, new).await?;
    transaction.commit().await?;
    Ok(expires_at)
}

/// The key with this digest, if there is one that is neither revoked nor expired.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn find_valid(conn: &mut Session, digest: &[u8; 32]) -> Result<Option<FoundKey>, Error> {
    let row = sqlx::query!(
        r#"select key_id, app_id, scopes,
                  last_used_at is not distinct from date_trunc('hour', now(), 'UTC') as "use_is_stored!"
           from api_keys
           where secret_digest = $1 and revoked_at is null and coalesce(expires_at > now(), true)"#,
        digest
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| FoundKey {
        key: ValidKey {
            id: KeyId(row.key_id),
            app: AppId(row.app_id),
            scopes: Scopes::from_code(row.scopes),
        },
        use_is_stored: row.use_is_stored,
    }))
}

/// Those of these keys that are neither revoked nor expired, with their names.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn find_named(
    conn: &mut Session,
    keys: &[KeyId],
) -> Result<Vec<(FoundKey, Option<String>)>, Error> {
    let keys: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
    let rows = sqlx::query!(
        r#"select key_id, app_id, name, scopes,
                  last_used_at is not distinct from date_trunc('hour', now(), 'UTC') as "use_is_stored!"
           from api_keys
           where key_id = any($1) and revoked_at is null and coalesce(expires_at > now(), true)"#,
        &keys
    );
    let rows = rows.fetch_all(conn).await?.into_iter().map(|row| {
        let (id, app, scopes) = (KeyId(row.key_id), AppId(row.app_id), Scopes::from_code(row.scopes));
        (FoundKey { key: ValidKey { id, app, scopes }, use_is_stored: row.use_is_stored }, row.name)
    });
    Ok(rows.collect())
}

/// Those of these keys that are neither revoked nor expired.
///
/// # Errors
/// Postgres is out of reach.
pub async fn still_valid(conn: &mut Session, keys: &[KeyId]) -> Result<Vec<KeyId>, Error> {
    let keys: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
    let valid = sqlx::query_scalar!(
        "select key_id from api_keys
         where key_id = any($1) and revoked_at is null and coalesce(expires_at > now(), true)",
        &keys
    );
    Ok(valid.fetch_all(conn).await?.into_iter().map(KeyId).collect())
}

/// Stores that these keys were used within the present hour. A key that another transaction has locked is left out: it is
/// being revoked, or another node stores the same.
///
/// # Errors
/// Postgres is out of reach.
pub async fn store_uses(conn: &mut Session, keys: &[KeyId]) -> Result<(), Error> {
    let keys: Vec<Uuid> = keys.iter().map(|key| key.0).collect();
    sqlx::query!(
        "with unstored as materialized (
           select key_id from api_keys
           where key_id = any($1) and last_used_at is distinct from date_trunc('hour', now(), 'UTC')
           for no key update skip locked)
         update api_keys set last_used_at = date_trunc('hour', now(), 'UTC')
         where key_id = any(array(select key_id from unstored))",
        &keys
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// All keys, also those that are refused, the oldest first.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn list(conn: &mut Session) -> Result<Vec<KeyRow>, Error> {
    let rows = sqlx::query_as!(
        StoredKey,
        "select k.key_id, a.name as app, k.name, k.scopes, k.created_at, k.expires_at, k.revoked_at, k.last_used_at
         from api_keys k join apps a using (app_id) order by k.created_at, k.key_id"
    );
    Ok(rows.fetch_all(conn).await?.into_iter().map(KeyRow::from).collect())
}

/// The next keys of an app after a key, at most `limit`, in the order of [`list`].
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn page(
    conn: &mut Session,
    app: AppId,
    after: Option<KeyId>,
    limit: i64,
) -> Result<Vec<KeyRow>, Error> {
    let rows = sqlx::query_as!(
        StoredKey,
        "select k.key_id, a.name as app, k.name, k.scopes, k.created_at, k.expires_at, k.revoked_at, k.last_used_at
         from api_keys k join apps a using (app_id)
         where k.app_id = $1
           and ($2::uuid is null
             or (k.created_at, k.key_id) > (select p.created_at, p.key_id from api_keys p where p.key_id = $2))
         order by k.created_at, k.key_id limit $3",
        app.0,
        after.map(|key| key.0),
        limit
    );
    Ok(rows.fetch_all(conn).await?.into_iter().map(KeyRow::from).collect())
}

/// A row of `api_keys` with the name of its app, without the digest.
struct StoredKey {
    key_id: Uuid,
    app: String,
    name: Option<String>,
    scopes: i16,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
}

impl From<StoredKey> for KeyRow {
    fn from(row: StoredKey) -> Self {
        Self {
            id: KeyId(row.key_id),
            app: row.app,
            name: row.name,
            scopes: Scopes::from_code(row.scopes),
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            last_used_at: row.last_used_at,
        }
    }
}

/// Revokes a key, and tells the event log of it, in a transaction. A key that is revoked already stays revoked since the first
/// time. False: there is no key with this id.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn revoke(conn: &mut Session, id: KeyId) -> Result<bool, Error> {
    let mut transaction = conn.begin().await?;
    let revoked = sqlx::query!(
        r#"update api_keys set revoked_at = coalesce(revoked_at, now()) where key_id = $1
           returning app_id, name, scopes, revoked_at = now() as "is_new!""#,
        id.0
    )
    .fetch_optional(&mut *transaction)
    .await?;
    if let Some(key) = revoked.as_ref().filter(|key| key.is_new) {
        let fact = key_fact(id, key.name.as_deref(), Scopes::from_code(key.scopes));
        let new = NewFact { app: AppId(key.app_id), kind: FactKind::KeyRevoked, devices: &[], fact };
        events::append(&mut transaction, new).await?;
    }
    transaction.commit().await?;
    Ok(revoked.is_some())
}

/// What the event log is told of a key.
fn key_fact(id: KeyId, name: Option<&str>, scopes: Scopes) -> KeyFact {
    let scopes = scopes.names().map(str::to_owned).collect();
    KeyFact { key: id.to_string(), name: name.map(str::to_owned), scopes }
}
