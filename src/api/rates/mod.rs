//! How often clients may ask, each limit counted on this node alone.
//!
//! A backend is counted by its key. Every phone has the same publishable key, so apps are counted by where they ask from
//! and by which device they speak of.

mod client_address;
mod proxies;
mod window;

use std::net::IpAddr;
use std::time::Duration;

use http::request::Parts;
use tokio::time::Instant;

use crate::domain::{AppId, DeviceToken, KeyId, Network, TokenDigest};
use crate::registry::keys;
use proxies::UntrustedProxies;
use window::FixedWindows;

pub(super) use client_address::PeerAddress;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// Look-ups of unknown keys for one client in a minute. Each is a query; a client with a wrong key repeats the same one,
/// which is remembered.
const UNKNOWN_KEYS_PER_MINUTE: u32 = 60;

/// The limits, with what was asked lately.
#[derive(Debug, Default)]
pub struct RateLimiter {
    by_key: Option<FixedWindows<KeyId>>,
    by_address: Option<FixedWindows<(AppId, IpAddr)>>,
    by_token: Option<FixedWindows<(AppId, TokenDigest)>>,
    unknown_keys: Option<FixedWindows<IpAddr>>,
    trusted_proxies: Vec<Network>,
    untrusted_proxies: UntrustedProxies,
}

/// What is limited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RateScope {
    /// Requests with one secret key, in a second.
    Key,
    /// Requests with a publishable key from one address, in a minute.
    Address,
    /// Requests with a publishable key about one device token, in a minute.
    Token,
    /// Requests with an unknown key from one address, in a minute.
    UnknownKeys,
}

impl RateScope {
    /// The word in the answer.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Address | Self::UnknownKeys => "address",
            Self::Token => "token",
        }
    }

    /// For people.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Key => "a second with one key",
            Self::Address => "a minute from one address",
            Self::Token => "a minute about one device token",
            Self::UnknownKeys => "a minute with unknown keys from one address",
        }
    }
}

/// A limit was hit. The request was not carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateExceeded {
    /// How many requests there may be.
    pub limit: u32,
    /// Of what.
    pub scope: RateScope,
    /// Until one is taken again.
    pub wait: Duration,
}

impl RateExceeded {
    /// Whole seconds, never too few and at least one.
    pub fn retry_after_secs(&self) -> u64 {
        self.wait.as_secs() + u64::from(self.wait.subsec_nanos() > 0 || self.wait.is_zero())
    }
}

impl RateLimiter {
    /// Limits per second and key, and per minute and client address or token; none: no limit.
    pub fn new(
        requests_per_second: Option<u32>,
        register_per_minute: Option<u32>,
        trusted_proxies: Vec<Network>,
    ) -> Self {
        Self {
            by_key: requests_per_second.map(|limit| FixedWindows::new(limit, SECOND)),
            by_address: register_per_minute.map(|limit| FixedWindows::new(limit, MINUTE)),
            by_token: register_per_minute.map(|limit| FixedWindows::new(limit, MINUTE)),
            unknown_keys: Some(FixedWindows::new(UNKNOWN_KEYS_PER_MINUTE, MINUTE)),
            trusted_proxies,
            untrusted_proxies: UntrustedProxies::default(),
        }
    }

    /// Tells the operator, once, of a proxy that is not trusted, so that all of its clients are counted as one.
    pub(super) fn note_proxy(&self, request: &Parts) {
        if let Some(address) = client_address::untrusted_proxy(request, &self.trusted_proxies) {
            self.untrusted_proxies.tell(address);
        }
    }

    /// The limit of look-ups of unknown keys, for the client of a request.
    pub(super) fn unknown_keys(&self, request: &Parts) -> UnknownKeyLimit<'_> {
        let client = client_address::address(request, &self.trusted_proxies);
        UnknownKeyLimit(self.unknown_keys.as_ref().zip(client))
    }

    /// Counts a request with a secret key.
    ///
    /// # Errors
    /// There were too many.
    pub fn take_key(&self, key: KeyId) -> Result<(), RateExceeded> {
        take(self.by_key.as_ref(), key, RateScope::Key)
    }

    /// Counts a request with a publishable key by where it came from.
    ///
    /// # Errors
    /// There were too many.
    pub fn take_address(&self, app: AppId, request: &Parts) -> Result<(), RateExceeded> {
        match client_address::address(request, &self.trusted_proxies) {
            Some(address) => take(self.by_address.as_ref(), (app, address), RateScope::Address),
            None => Ok(()),
        }
    }

    /// Counts a request with a publishable key by the device that it is about.
    ///
    /// # Errors
    /// There were too many.
    pub fn take_token(&self, app: AppId, token: &DeviceToken) -> Result<(), RateExceeded> {
        take(self.by_token.as_ref(), (app, token.digest()), RateScope::Token)
    }
}

/// Look-ups of unknown keys, of one client; none: they are not limited.
#[derive(Debug)]
pub(super) struct UnknownKeyLimit<'a>(Option<(&'a FixedWindows<IpAddr>, IpAddr)>);

impl keys::GuessLimit for UnknownKeyLimit<'_> {
    type Refusal = RateExceeded;

    fn check(&self) -> Result<(), RateExceeded> {
        let Some((windows, client)) = &self.0 else { return Ok(()) };
        let checked = windows.check(client, Instant::now());
        checked.map_err(|wait| RateExceeded { limit: windows.limit(), scope: RateScope::UnknownKeys, wait })
    }

    fn count(&self) {
        if let Some((windows, client)) = &self.0 {
            // One more than the limit changes nothing.
            let _full = windows.take(*client, Instant::now());
        }
    }
}

fn take<K: Eq + std::hash::Hash>(
    windows: Option<&FixedWindows<K>>,
    client: K,
    scope: RateScope,
) -> Result<(), RateExceeded> {
    let Some(windows) = windows else { return Ok(()) };
    let taken = windows.take(client, Instant::now());
    taken.map_err(|wait| RateExceeded { limit: windows.limit(), scope, wait })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_whole_seconds_that_suffice() {
        for (millis, secs) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (59_999, 60), (60_000, 60)] {
            let wait = Duration::from_millis(millis);
            assert_eq!(
                RateExceeded { limit: 1, scope: RateScope::Key, wait }.retry_after_secs(),
                secs,
                "{millis}"
            );
        }
    }

    #[test]
    fn without_limits_nobody_is_counted() {
        let rates = RateLimiter::default();
        let key = KeyId::random();
        assert!((0..1000).all(|_| rates.take_key(key).is_ok()));
    }
}
