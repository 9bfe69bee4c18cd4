//! API keys: creating, listing and revoking them, and recognising them on each request. Keys are cached for a few
//! seconds, so that not every request needs a look-up in the database.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::domain::{AppId, KeyId, Scopes};
use crate::store;
use crate::store::keys::{KeyRow, ValidKey};
use crate::store::{Session, SessionPool};

/// How long a look-up is valid. After this time a revocation is in force on every node.
const CACHE_AGE_MAX: Duration = Duration::from_secs(10);
/// From this age on, the next request repeats the look-up, while other requests still use the cached one.
const REFRESH_AGE: Duration = Duration::from_secs(5);
/// Cached secrets, known and unknown ones.
const CACHE_ENTRIES_MAX: usize = 10_000;
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

/// Recognises API keys by their secrets. Cheap to clone; clones share the cache.
#[derive(Clone)]
pub struct ApiKeys {
    pool: SessionPool,
    cache: Arc<Mutex<KeyCache>>,
    uncached_lookups: Arc<Semaphore>,
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
    /// Postgres is out of reach.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl ApiKeys {
    /// Starts with an empty cache.
    pub fn new(pool: SessionPool) -> Self {
        Self { pool, cache: Arc::default(), uncached_lookups: Arc::new(Semaphore::new(UNCACHED_LOOKUPS_MAX)) }
    }

    /// Finds the key with this secret. None: there is no such key, or it is revoked. A revocation takes at most 10 s to
    /// be noticed.
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
        let key = found.map(|key| ApiKey { id: key.id, app: key.app, scopes: key.scopes });
        self.cache().insert(digest, key, now);
        Ok(key)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, KeyCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeys(…)")
    }
}

/// Creates a key for an app of the configuration. The app's row is created if it does not exist yet. Returns the key's
/// id and its secret, which is not stored and can't be shown again.
///
/// # Errors
/// See [`Error`].
pub async fn create(
    conn: &mut Session,
    app: &str,
    scopes: Scopes,
    name: Option<&str>,
) -> Result<(KeyId, String), Error> {
    let is_name = |name: &str| (1..=NAME_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
    if !name.is_none_or(is_name) {
        return Err(Error::BadName);
    }
    let apps = store::apps::ensure(conn, &[app.to_owned()]).await?;
    let app = apps.first().expect("an app that was ensured is there").id;
    let prefix = if scopes.is_publishable() { PUBLISHABLE_PREFIX } else { SECRET_PREFIX };
    let random: [u8; SECRET_DIGITS / 2] = rand::random();
    let secret = format!("{prefix}{}", hex::encode(random));
    let key = ValidKey { id: KeyId::random(), app, scopes };
    store::keys::insert(conn, key, name, &digest_of(&secret)).await?;
    Ok((key.id, secret))
}

/// Lists all keys, oldest first. Revoked keys are included.
///
/// # Errors
/// Postgres is out of reach.
pub async fn list(conn: &mut Session) -> Result<Vec<KeyRow>, store::Error> {
    store::keys::list(conn).await
}

/// Revokes a key. Every node refuses it after 10 s. False: there is no key with this id.
///
/// # Errors
/// Postgres is out of reach.
pub async fn revoke(conn: &mut Session, id: KeyId) -> Result<bool, store::Error> {
    store::keys::revoke(conn, id).await
}

/// SHA-256 of a secret with its prefix.
type SecretDigest = [u8; 32];

/// The look-ups of the last seconds, by the digest of the secret.
#[derive(Default)]
struct KeyCache(HashMap<SecretDigest, Entry>);

struct Entry {
    key: Option<ApiKey>,
    looked_up_at: Instant,
    is_refreshing: bool,
}

/// The cached look-up of a secret. `None` in a variant: the secret was unknown.
#[derive(PartialEq, Eq, Debug)]
enum CachedKey {
    /// The look-up is valid.
    Fresh(Option<ApiKey>),
    /// Valid, but the request that gets this must repeat the look-up.
    Stale(Option<ApiKey>),
    /// No longer valid; the secret belonged to a key.
    Expired,
    /// Not cached, or no longer valid.
    Missing,
}

impl KeyCache {
    fn get(&mut self, digest: &SecretDigest, now: Instant) -> CachedKey {
        let Some(entry) = self.0.get_mut(digest) else { return CachedKey::Missing };
        match now.saturating_duration_since(entry.looked_up_at) {
            age if age >= CACHE_AGE_MAX && entry.key.is_some() => CachedKey::Expired,
            age if age >= CACHE_AGE_MAX => CachedKey::Missing,
            age if age >= REFRESH_AGE && !entry.is_refreshing => {
                entry.is_refreshing = true;
                CachedKey::Stale(entry.key)
            }
            _ => CachedKey::Fresh(entry.key),
        }
    }

    fn insert(&mut self, digest: SecretDigest, key: Option<ApiKey>, looked_up_at: Instant) {
        if self.0.len() >= CACHE_ENTRIES_MAX && !self.0.contains_key(&digest) {
            self.make_room(looked_up_at);
        }
        self.0.insert(digest, Entry { key, looked_up_at, is_refreshing: false });
    }

    fn refresh_failed(&mut self, digest: &SecretDigest) {
        if let Some(entry) = self.0.get_mut(digest) {
            entry.is_refreshing = false;
        }
    }

    /// Removes expired entries, then unknown secrets, then all entries. All of them can be looked up again.
    fn make_room(&mut self, now: Instant) {
        self.0.retain(|_, entry| now.saturating_duration_since(entry.looked_up_at) < CACHE_AGE_MAX);
        if self.0.len() >= CACHE_ENTRIES_MAX {
            self.0.retain(|_, entry| entry.key.is_some());
        }
        if self.0.len() >= CACHE_ENTRIES_MAX {
            self.0.clear();
        }
    }
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

    fn key() -> Option<ApiKey> {
        let scopes = Scopes::parse("send").expect("a scope");
        Some(ApiKey { id: KeyId::random(), app: AppId(1), scopes })
    }

    #[test]
    fn only_well_formed_secrets_are_looked_up() {
        let digits = "0a".repeat(32);
        assert!(is_well_formed(&format!("pushpost_sk_{digits}")));
        assert!(is_well_formed(&format!("pushpost_pk_{digits}")));
        for wrong in [&digits, "pushpost_sk_", &format!("pushpost_sk_{digits}0"), "pushpost_sk_é"] {
            assert!(!is_well_formed(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_look_up_is_valid_for_ten_seconds() {
        let (mut cache, key, start) = (KeyCache::default(), key(), Instant::now());
        cache.insert([1; 32], key, start);
        assert_eq!(cache.get(&[1; 32], start + REFRESH_AGE / 2), CachedKey::Fresh(key));
        assert_eq!(cache.get(&[1; 32], start + REFRESH_AGE), CachedKey::Stale(key));
        assert_eq!(
            cache.get(&[1; 32], start + REFRESH_AGE),
            CachedKey::Fresh(key),
            "one request repeats the look-up"
        );
        assert_eq!(cache.get(&[1; 32], start + CACHE_AGE_MAX), CachedKey::Expired);
        cache.insert([3; 32], None, start);
        assert_eq!(cache.get(&[3; 32], start + REFRESH_AGE / 2), CachedKey::Fresh(None));
        assert_eq!(cache.get(&[3; 32], start + CACHE_AGE_MAX), CachedKey::Missing);
        assert_eq!(cache.get(&[2; 32], start), CachedKey::Missing);
    }

    #[test]
    fn guesses_neither_grow_the_cache_nor_displace_keys() {
        let (mut cache, key, start) = (KeyCache::default(), key(), Instant::now());
        cache.insert([255; 32], key, start);
        for guess in 0..2 * CACHE_ENTRIES_MAX as u64 {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&guess.to_be_bytes());
            cache.insert(digest, None, start);
        }
        assert!(cache.0.len() <= CACHE_ENTRIES_MAX);
        assert_eq!(cache.get(&[255; 32], start), CachedKey::Fresh(key));
    }
}
