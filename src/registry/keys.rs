//! API keys: made, listed, revoked, and recognised on every request without asking the database each time.

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

/// How long an answer of the database is believed: a revocation holds on every node by then.
const LIFE: Duration = Duration::from_secs(10);
/// From this age on the first who asks looks again, while others go on with what is known.
const FRESH: Duration = Duration::from_secs(5);
/// Most secrets remembered, known or not.
const CAPACITY: usize = 10_000;
/// Look-ups at a time of secrets of which nothing is known: a client that makes secrets up leaves the other connections
/// alone.
const LOOK_UPS: usize = 2;
/// Longest wait for one of them; as long as for a connection.
const LOOK_UP_WAIT: Duration = Duration::from_secs(5);
/// How secrets of secret keys begin.
const SECRET_PREFIX: &str = "pushpost_sk_";
/// How secrets of publishable keys begin.
const PUBLISHABLE_PREFIX: &str = "pushpost_pk_";
/// Hexadecimal digits after the prefix: 256 random bits.
const SECRET_DIGITS: usize = 64;
/// Longest name of a key, in bytes.
const NAME_MAX: usize = 100;

/// A recognised key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ApiKey {
    /// Its id.
    pub id: KeyId,
    /// Whose.
    pub app: AppId,
    /// What it may do.
    pub scopes: Scopes,
}

/// Recognises keys. Cheap to clone; clones share what they remember.
#[derive(Clone)]
pub struct ApiKeys {
    pool: SessionPool,
    remembered: Arc<Mutex<Remembered>>,
    look_ups: Arc<Semaphore>,
}

/// Limits look-ups of secrets that turn out to be unknown, of one client.
pub trait GuessLimit {
    /// Why there may be no more.
    type Refusal;

    /// May this client have one more secret looked up?
    ///
    /// # Errors
    /// There were too many unknown ones.
    fn check(&self) -> Result<(), Self::Refusal>;

    /// The secret was unknown.
    fn count(&self);
}

/// No limit.
impl GuessLimit for () {
    type Refusal = std::convert::Infallible;

    fn check(&self) -> Result<(), Self::Refusal> {
        Ok(())
    }

    fn count(&self) {}
}

/// Why a secret was neither recognised nor found to be unknown.
#[derive(Debug)]
pub enum AuthenticationError<R> {
    /// The client has had too many unknown secrets looked up.
    Refused(R),
    /// Too many clients have secrets looked up at this time.
    Busy,
    /// The database's.
    Store(store::Error),
}

impl<R> From<store::Error> for AuthenticationError<R> {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

/// Why a key was not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name is 1 to 100 bytes without control characters.
    #[error("a key's name is 1 to {NAME_MAX} bytes without control characters")]
    BadName,
    /// The database.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl ApiKeys {
    /// Remembers nothing yet.
    pub fn new(pool: SessionPool) -> Self {
        Self { pool, remembered: Arc::default(), look_ups: Arc::new(Semaphore::new(LOOK_UPS)) }
    }

    /// The key with this secret. None: there is none, or it was revoked, at the latest 10 s ago.
    ///
    /// # Errors
    /// See [`AuthenticationError`]; none while something young enough is remembered.
    pub async fn authenticate<U: GuessLimit>(
        &self,
        bearer: &str,
        unknown: &U,
    ) -> Result<Option<ApiKey>, AuthenticationError<U::Refusal>> {
        if !looks_like_a_secret(bearer) {
            return Ok(None);
        }
        let digest = digest_of(bearer);
        let recalled = self.remembered().recall(&digest, Instant::now());
        match recalled {
            Recall::Fresh(key) => Ok(key),
            Recall::Stale(key) => Ok(self.look_up_again(digest, key).await?),
            // It was a key a while ago: its look-up is no guess.
            Recall::Expired => Ok(self.look_up(digest).await?),
            Recall::Nothing => self.look_up_unknown(digest, unknown).await,
        }
    }

    /// Asks the database while something is known that holds without it too.
    async fn look_up_again(
        &self,
        digest: SecretDigest,
        known: Option<ApiKey>,
    ) -> Result<Option<ApiKey>, store::Error> {
        match self.look_up(digest).await {
            Err(error) if error.is_unavailable() => {
                self.remembered().refresh_failed(&digest);
                Ok(known)
            }
            looked_up => looked_up,
        }
    }

    /// Asks the database of a secret that may be made up. Requests that wait with the same secret share its look-up.
    async fn look_up_unknown<U: GuessLimit>(
        &self,
        digest: SecretDigest,
        unknown: &U,
    ) -> Result<Option<ApiKey>, AuthenticationError<U::Refusal>> {
        unknown.check().map_err(AuthenticationError::Refused)?;
        let turn = timeout(LOOK_UP_WAIT, self.look_ups.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(AuthenticationError::Busy) };
        if let Recall::Fresh(key) | Recall::Stale(key) = self.remembered().recall(&digest, Instant::now()) {
            return Ok(key);
        }
        // Many may have waited.
        unknown.check().map_err(AuthenticationError::Refused)?;
        let key = self.look_up(digest).await?;
        if key.is_none() {
            unknown.count();
        }
        Ok(key)
    }

    /// Asks the database, and remembers what it says.
    async fn look_up(&self, digest: SecretDigest) -> Result<Option<ApiKey>, store::Error> {
        // Before the look-up, so that an entry's age counts from before its answer was made.
        let now = Instant::now();
        let mut conn = self.pool.acquire().await?;
        let found = store::keys::find_valid(&mut conn, &digest).await?;
        drop(conn);
        let key = found.map(|key| ApiKey { id: key.id, app: key.app, scopes: key.scopes });
        self.remembered().remember(digest, key, now);
        Ok(key)
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, Remembered> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeys(…)")
    }
}

/// Makes a key for an app of the configuration (whose row is made if this is the first time that it is needed). The
/// second part of the answer is the secret, which nothing shows again.
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
    let secret = random.iter().fold(prefix.to_owned(), |secret, byte| format!("{secret}{byte:02x}"));
    let key = ValidKey { id: KeyId::random(), app, scopes };
    store::keys::insert(conn, key, name, &digest_of(&secret)).await?;
    Ok((key.id, secret))
}

/// Every key, revoked ones too, oldest first.
///
/// # Errors
/// The database's.
pub async fn list(conn: &mut Session) -> Result<Vec<KeyRow>, store::Error> {
    store::keys::list(conn).await
}

/// Revokes a key; every node has noticed after 10 s. False: there is none with this id.
///
/// # Errors
/// The database's.
pub async fn revoke(conn: &mut Session, id: KeyId) -> Result<bool, store::Error> {
    store::keys::revoke(conn, id).await
}

/// SHA-256 of a whole secret, prefix and all.
type SecretDigest = [u8; 32];

/// Digests of secrets that were looked up in the last seconds.
#[derive(Default)]
struct Remembered(HashMap<SecretDigest, Entry>);

struct Entry {
    key: Option<ApiKey>,
    looked_up_at: Instant,
    refreshing: bool,
}

/// What is remembered of a secret.
#[derive(PartialEq, Eq, Debug)]
enum Recall {
    /// Good enough.
    Fresh(Option<ApiKey>),
    /// Good enough, but the request that got this is the one to look again.
    Stale(Option<ApiKey>),
    /// It was a key, too long ago.
    Expired,
    /// Nothing that could still be believed.
    Nothing,
}

impl Remembered {
    fn recall(&mut self, digest: &SecretDigest, now: Instant) -> Recall {
        let Some(entry) = self.0.get_mut(digest) else { return Recall::Nothing };
        match now.saturating_duration_since(entry.looked_up_at) {
            age if age >= LIFE && entry.key.is_some() => Recall::Expired,
            age if age >= LIFE => Recall::Nothing,
            age if age >= FRESH && !entry.refreshing => {
                entry.refreshing = true;
                Recall::Stale(entry.key)
            }
            _ => Recall::Fresh(entry.key),
        }
    }

    fn remember(&mut self, digest: SecretDigest, key: Option<ApiKey>, looked_up_at: Instant) {
        if self.0.len() >= CAPACITY && !self.0.contains_key(&digest) {
            self.make_room(looked_up_at);
        }
        self.0.insert(digest, Entry { key, looked_up_at, refreshing: false });
    }

    fn refresh_failed(&mut self, digest: &SecretDigest) {
        if let Some(entry) = self.0.get_mut(digest) {
            entry.refreshing = false;
        }
    }

    /// Forgets what is too old, then what somebody guessed in vain, then everything: all of it can be looked up again.
    fn make_room(&mut self, now: Instant) {
        self.0.retain(|_, entry| now.saturating_duration_since(entry.looked_up_at) < LIFE);
        if self.0.len() >= CAPACITY {
            self.0.retain(|_, entry| entry.key.is_some());
        }
        if self.0.len() >= CAPACITY {
            self.0.clear();
        }
    }
}

fn looks_like_a_secret(bearer: &str) -> bool {
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
    fn only_what_looks_like_a_secret_is_looked_up() {
        let digits = "0a".repeat(32);
        assert!(looks_like_a_secret(&format!("pushpost_sk_{digits}")));
        assert!(looks_like_a_secret(&format!("pushpost_pk_{digits}")));
        for wrong in [&digits, "pushpost_sk_", &format!("pushpost_sk_{digits}0"), "pushpost_sk_é"] {
            assert!(!looks_like_a_secret(wrong), "{wrong}");
        }
    }

    #[test]
    fn nothing_is_believed_for_longer_than_ten_seconds() {
        let (mut remembered, key, start) = (Remembered::default(), key(), Instant::now());
        remembered.remember([1; 32], key, start);
        assert_eq!(remembered.recall(&[1; 32], start + FRESH / 2), Recall::Fresh(key));
        assert_eq!(remembered.recall(&[1; 32], start + FRESH), Recall::Stale(key));
        assert_eq!(
            remembered.recall(&[1; 32], start + FRESH),
            Recall::Fresh(key),
            "one looks again, not all"
        );
        assert_eq!(remembered.recall(&[1; 32], start + LIFE), Recall::Expired);
        remembered.remember([3; 32], None, start);
        assert_eq!(remembered.recall(&[3; 32], start + FRESH / 2), Recall::Fresh(None));
        assert_eq!(remembered.recall(&[3; 32], start + LIFE), Recall::Nothing);
        assert_eq!(remembered.recall(&[2; 32], start), Recall::Nothing);
    }

    #[test]
    fn guesses_do_not_grow_memory_nor_push_out_keys() {
        let (mut remembered, key, start) = (Remembered::default(), key(), Instant::now());
        remembered.remember([255; 32], key, start);
        for guess in 0..2 * CAPACITY as u64 {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&guess.to_be_bytes());
            remembered.remember(digest, None, start);
        }
        assert!(remembered.0.len() <= CAPACITY);
        assert_eq!(remembered.recall(&[255; 32], start), Recall::Fresh(key));
    }
}
