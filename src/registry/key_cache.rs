//! The look-ups of API keys of the last seconds, so that not every request needs one in the database.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

use super::keys::ApiKey;

/// How long a look-up is valid. After this time a revocation or an expiry is in force on every node.
const CACHE_AGE_MAX: Duration = Duration::from_secs(10);
/// From this age on, the next request repeats the look-up, while other requests still use the cached one.
const REFRESH_AGE: Duration = Duration::from_secs(5);
/// Cached secrets, known and unknown ones.
const CACHE_ENTRIES_MAX: usize = 10_000;

/// SHA-256 of a secret with its prefix.
pub(super) type SecretDigest = [u8; 32];

/// The look-ups of the last seconds, by what was looked for: the digest of a secret, or the id of a key.
pub(super) struct KeyCache<K>(HashMap<K, Entry>);

impl<K> Default for KeyCache<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

struct Entry {
    key: Option<ApiKey>,
    looked_up_at: Instant,
    is_refreshing: bool,
}

/// A cached look-up. `None` in a variant: there was no such key.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum CachedKey {
    /// The look-up is valid.
    Fresh(Option<ApiKey>),
    /// Valid, but the request that gets this must repeat the look-up.
    Stale(Option<ApiKey>),
    /// No longer valid; there was a key.
    Expired,
    /// Not cached, or no longer valid.
    Missing,
}

impl<K: Eq + Hash> KeyCache<K> {
    pub(super) fn get(&mut self, looked_for: &K, now: Instant) -> CachedKey {
        let Some(entry) = self.0.get_mut(looked_for) else { return CachedKey::Missing };
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

    pub(super) fn insert(&mut self, looked_for: K, key: Option<ApiKey>, looked_up_at: Instant) {
        if self.0.len() >= CACHE_ENTRIES_MAX && !self.0.contains_key(&looked_for) {
            self.make_room(looked_up_at);
        }
        self.0.insert(looked_for, Entry { key, looked_up_at, is_refreshing: false });
    }

    pub(super) fn refresh_failed(&mut self, looked_for: &K) {
        if let Some(entry) = self.0.get_mut(looked_for) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AppId, KeyId, Scopes};

    fn key() -> Option<ApiKey> {
        let scopes = Scopes::parse("send").expect("a scope");
        Some(ApiKey { id: KeyId::random(), app: AppId(1), scopes })
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
