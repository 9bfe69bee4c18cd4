//! API keys: creating, listing and revoking them, and recognising them on each request. Keys are cached for a few
//! seconds, so that not every request needs a look-up in the database.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::key_cache::{CachedKey, KeyCache, SecretDigest};
use super::key_uses::KeyUses;
use crate::domain::{AppId, KeyId, Scopes};
use crate::store;
use crate::store::keys::{FoundKey, KeyRow, ValidKey};
use crate::store::{Session, SessionPool};

/// Concurrent look-ups of secrets that are not cached. A client that guesses secrets can't occupy more connections.
const UNCACHED_LOOKUPS_MAX: usize = 2;
/// The longest wait for one of these look-ups: as long as for a connection.
const LOOKUP_WAIT_MAX: Duration = Duration::from_secs(5);
/// The start of the secret of a secret key.
const SECRET_PREFIX: &str = "pushpost_sk_";
/// The start of the secret of a publishable key.
const PUBLISHABLE_PREFIX: &str = "pushpost_pk_";
/// Hexadecimal digits after the prefix; they stand for 256 random bits.
const SECRET_DIGITS: usize = 64;
/// Longest name of a key, in bytes.
const NAME_MAX: usize = 100;
/// Longest time until a key expires, in years of 365 days. A longer one is a mistake.
const LIFETIME_YEARS_MAX: u64 = 100;

/// A recognised key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ApiKey {
    /// The id that the `keys` commands show.
    pub id: KeyId,
    /// The app that the key belongs to.
    pub app: AppId,
    /// What the key may do.
    pub scopes: Scopes,
}

impl From<ValidKey> for ApiKey {
    fn from(ValidKey { id, app, scopes }: ValidKey) -> Self {
        Self { id, app, scopes }
    }
}

/// A recognised key with what people call it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedKey {
    /// Its id, app and scopes.
    pub key: ApiKey,
    /// The name to recognise it by, if it was given one.
    pub name: Option<String>,
}

/// Recognises API keys by their secrets. Cheap to clone; clones share the cache.
#[derive(Clone)]
pub struct ApiKeys {
    pool: SessionPool,
    cache: Arc<Mutex<KeyCache<SecretDigest>>>,
    by_id: Arc<Mutex<KeyCache<KeyId>>>,
    uncached_lookups: Arc<Semaphore>,
    uses: Arc<KeyUses>,
}

/// Limits how many unknown secrets one client may try.
pub trait GuessLimit {
    /// The error of a client that has tried too many.
    type Refusal;

    /// Checks whether this client may try one more secret.
    ///
    /// # Errors
    /// The client has tried too many unknown secrets.
    fn check(&self) -> Result<(), Self::Refusal>;

    /// Counts an unknown secret.
    fn count(&self);
}

/// Without a limit, for callers that are not clients.
impl GuessLimit for () {
    type Refusal = std::convert::Infallible;

    fn check(&self) -> Result<(), Self::Refusal> {
        Ok(())
    }

    fn count(&self) {}
}

/// Why a secret could not be checked.
#[derive(Debug)]
pub enum AuthenticationError<R> {
    /// The client has tried too many unknown secrets.
    Refused(R),
    /// Too many secrets are being looked up.
    Busy,
    /// Postgres is out of reach.
    Store(store::Error),
}

impl<R> From<store::Error> for AuthenticationError<R> {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

/// Why a key was not created.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name is 1 to 100 bytes without control characters.
    #[error("a key's name is 1 to {NAME_MAX} bytes without control characters")]
    BadName,
    /// A key expires after at least a second, and after 100 years at most.
    #[error("a key expires after 1s to {}d", LIFETIME_YEARS_MAX * 365)]
    BadLifetime,
    /// Postgres is out of reach.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl ApiKeys {
    /// Starts with an empty cache.
    pub fn new(pool: SessionPool) -> Self {
        Self {
            pool,
            cache: Arc::default(),
            by_id: Arc::default(),
            uncached_lookups: Arc::new(Semaphore::new(UNCACHED_LOOKUPS_MAX)),
            uses: Arc::default(),
        }
    }

    /// The uses that were noted and are to be stored.
    pub fn uses(&self) -> Arc<KeyUses> {
        Arc::clone(&self.uses)
    }

    /// Finds the key with this secret. None: there is no such key, or it is revoked or expired. It takes at most 10 s
    /// until either is noticed.
    ///
    /// # Errors
    /// See [`AuthenticationError`]. There is no error while a valid look-up is cached.
    pub async fn authenticate<U: GuessLimit>(
        &self,
        bearer: &str,
        limit: &U,
    ) -> Result<Option<ApiKey>, AuthenticationError<U::Refusal>> {
        if !is_well_formed(bearer) {
            return Ok(None);
        }
        let digest = digest_of(bearer);
        let cached = self.cache().get(&digest, Instant::now());
        match cached {
            CachedKey::Fresh(key) => Ok(key),
            CachedKey::Stale(key) => Ok(self.refresh(digest, key).await?),
            // The secret belonged to a key before, so this look-up is no guess.
            CachedKey::Expired => Ok(self.look_up(digest).await?),
            CachedKey::Missing => self.look_up_uncached(digest, limit).await,
        }
    }

    /// Finds a key that a session names. None: it is revoked or expired. It takes at most 10 s until either is noticed.
    ///
    /// # Errors
    /// Postgres is out of reach. There is no error while a valid look-up is cached.
    pub async fn find(&self, id: KeyId) -> Result<Option<ApiKey>, store::Error> {
        let cached = self.cache_by_id().get(&id, Instant::now());
        match cached {
            CachedKey::Fresh(key) => Ok(key),
            CachedKey::Expired | CachedKey::Missing => self.look_up_id(id).await,
            CachedKey::Stale(key) => match self.look_up_id(id).await {
                Err(error) if error.is_unavailable() => {
                    self.cache_by_id().refresh_failed(&id);
                    Ok(key)
                }
                looked_up => looked_up,
            },
        }
    }

    async fn look_up_id(&self, id: KeyId) -> Result<Option<ApiKey>, store::Error> {
        // The age of the entry counts from before the look-up.
        let now = Instant::now();
        let key = self.find_named(&[id]).await?.pop().map(|named| named.key);
        self.cache_by_id().insert(id, key, now);
        Ok(key)
    }

    /// Those of these keys that are neither revoked nor expired, with their names. They are looked up now.
    ///
    /// # Errors
    /// Postgres is out of reach.
    pub async fn find_named(&self, ids: &[KeyId]) -> Result<Vec<NamedKey>, store::Error> {
        let mut conn = self.pool.acquire().await?;
        let found = store::keys::find_named(&mut conn, ids).await?;
        drop(conn);
        let named = found.into_iter().map(|(FoundKey { key, use_is_stored }, name)| {
            if !use_is_stored {
                self.uses.note(key.id);
            }
            NamedKey { key: key.into(), name }
        });
        Ok(named.collect())
    }

    /// Repeats a look-up. The cached one stays valid if Postgres is out of reach.
    async fn refresh(
        &self,
        digest: SecretDigest,
        cached: Option<ApiKey>,
    ) -> Result<Option<ApiKey>, store::Error> {
        match self.look_up(digest).await {
            Err(error) if error.is_unavailable() => {
                self.cache().refresh_failed(&digest);
                Ok(cached)
            }
            looked_up => looked_up,
        }
    }

    /// Looks up a secret that may be a guess. Requests that wait with the same secret share one look-up.
    async fn look_up_uncached<U: GuessLimit>(
        &self,
        digest: SecretDigest,
        limit: &U,
    ) -> Result<Option<ApiKey>, AuthenticationError<U::Refusal>> {
        limit.check().map_err(AuthenticationError::Refused)?;
        let permit = timeout(LOOKUP_WAIT_MAX, self.uncached_lookups.acquire()).await;
        let Ok(Ok(_permit)) = permit else { return Err(AuthenticationError::Busy) };
        if let CachedKey::Fresh(key) | CachedKey::Stale(key) = self.cache().get(&digest, Instant::now()) {
            return Ok(key);
        }
        // Many requests may have waited, and the limit may be reached meanwhile.
        limit.check().map_err(AuthenticationError::Refused)?;
        let key = self.look_up(digest).await?;
        if key.is_none() {
            limit.count();
        }
        Ok(key)
    }

    /// Looks the key up in the database and caches the result.
    async fn look_up(&self, digest: SecretDigest) -> Result<Option<ApiKey>, store::Error> {
        // The age of the entry counts from before the look-up.
        let now = Instant::now();
        let mut conn = self.pool.acquire().await?;
        let found = store::keys::find_valid(&mut conn, &digest).await?;
        drop(conn);
        if let Some(found) = found.filter(|found| !found.use_is_stored) {
            self.uses.note(found.key.id);
        }
        let key = found.map(|found| ApiKey::from(found.key));
        self.cache().insert(digest, key, now);
        Ok(key)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, KeyCache<SecretDigest>> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cache_by_id(&self) -> std::sync::MutexGuard<'_, KeyCache<KeyId>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeys(…)")
    }
}

/// A key that was just created.
#[derive(Clone, PartialEq, Eq)]
pub struct CreatedKey {
    /// The key's id.
    pub id: KeyId,
    /// The secret, which is not stored and can't be shown again.
    pub secret: String,
    /// From when on it is refused. None: it does not expire.
    pub expires_at: Option<DateTime<Utc>>,
}

impl fmt::Debug for CreatedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CreatedKey({})", self.id)
    }
}

/// Creates a key for an app of the configuration. The app's row is created if it does not exist yet. `lifetime`: how long
/// until the key expires, by Postgres's clock.
///
/// # Errors
/// See [`Error`].
pub async fn create(
    conn: &mut Session,
    app: &str,
    scopes: Scopes,
    name: Option<&str>,
    lifetime: Option<Duration>,
) -> Result<CreatedKey, Error> {
    let is_name = |name: &str| (1..=NAME_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
    if !name.is_none_or(is_name) {
        return Err(Error::BadName);
    }
    let lifetimes = Duration::from_secs(1)..=Duration::from_secs(LIFETIME_YEARS_MAX * 365 * 86_400);
    if !lifetime.is_none_or(|lifetime| lifetimes.contains(&lifetime)) {
        return Err(Error::BadLifetime);
    }
    let apps = store::apps::ensure(conn, &[app.to_owned()]).await?;
    let app = apps.first().expect("an app that was ensured is there").id;
    let prefix = if scopes.is_publishable() { PUBLISHABLE_PREFIX } else { SECRET_PREFIX };
    let random: [u8; SECRET_DIGITS / 2] = rand::random();
    let secret = format!("{prefix}{}", hex::encode(random));
    let key = ValidKey { id: KeyId::random(), app, scopes };
    let lifetime_secs = lifetime.map(|lifetime| lifetime.as_secs_f64());
    let expires_at = store::keys::insert(conn, key, name, &digest_of(&secret), lifetime_secs).await?;
    Ok(CreatedKey { id: key.id, secret, expires_at })
}

/// Lists all keys, oldest first. Revoked and expired keys are included.
///
/// # Errors
/// Postgres is out of reach.
pub async fn list(conn: &mut Session) -> Result<Vec<KeyRow>, store::Error> {
    store::keys::list(conn).await
}

/// Lists keys of one app after a key, in the order of [`list`].
///
/// # Errors
/// Postgres is out of reach.
pub async fn page(
    pool: &SessionPool,
    app: AppId,
    after: Option<KeyId>,
    limit: i64,
) -> Result<Vec<KeyRow>, store::Error> {
    let mut conn = pool.acquire().await?;
    store::keys::page(&mut conn, app, after, limit).await
}

/// Revokes a key. Every node refuses it after 10 s. False: there is no key with this id.
///
/// # Errors
/// Postgres is out of reach.
pub async fn revoke(conn: &mut Session, id: KeyId) -> Result<bool, store::Error> {
    store::keys::revoke(conn, id).await
}

/// Has this text the form of a key's secret?
pub fn is_well_formed(bearer: &str) -> bool {
    let rest = bearer.strip_prefix(SECRET_PREFIX).or_else(|| bearer.strip_prefix(PUBLISHABLE_PREFIX));
    let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    rest.is_some_and(|rest| rest.len() == SECRET_DIGITS && rest.bytes().all(is_digit))
}

fn digest_of(secret: &str) -> SecretDigest {
    Sha256::digest(secret.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_secrets_are_looked_up() {
        let digits = "0a".repeat(32);
        assert!(is_well_formed(&format!("pushpost_sk_{digits}")));
        assert!(is_well_formed(&format!("pushpost_pk_{digits}")));
        for wrong in [&digits, "pushpost_sk_", &format!("pushpost_sk_{digits}0"), "pushpost_sk_é"] {
            assert!(!is_well_formed(wrong), "{wrong}");
        }
    }
}
