//! How often clients may ask, each limit counted on this node alone.
//!
//! A backend is counted by its key. Every phone has the same publishable key, so apps are counted by where they ask from
//! and by which device they speak of.

mod client;
mod window;

use std::net::IpAddr;
use std::time::Duration;

use http::request::Parts;
use tokio::time::Instant;

use crate::domain::{AppId, DeviceToken, KeyId, Network, TokenDigest};
use window::Windows;

pub(super) use client::Peer;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// The limits, with what was asked lately.
#[derive(Debug, Default)]
pub struct Rates {
    by_key: Option<Windows<KeyId>>,
    by_address: Option<Windows<(AppId, IpAddr)>>,
    by_token: Option<Windows<(AppId, TokenDigest)>>,
    trusted_proxies: Vec<Network>,
}

/// What is limited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Requests with one secret key, in a second.
    Key,
    /// Requests with a publishable key from one address, in a minute.
    Address,
    /// Requests with a publishable key about one device token, in a minute.
    Token,
}

impl Scope {
    /// The word in the answer.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Address => "address",
            Self::Token => "token",
        }
    }

    /// For people.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Key => "a second with one key",
            Self::Address => "a minute from one address",
            Self::Token => "a minute about one device token",
        }
    }
}

/// A limit was hit. The request was not carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooFast {
    /// How many requests there may be.
    pub limit: u32,
    /// Of what.
    pub scope: Scope,
    /// Until one is taken again.
    pub wait: Duration,
}

impl TooFast {
    /// Whole seconds, never too few and at least one.
    pub fn retry_after_secs(&self) -> u64 {
        self.wait.as_secs() + u64::from(self.wait.subsec_nanos() > 0 || self.wait.is_zero())
    }
}

impl Rates {
    /// Limits per second and key, and per minute and client address or token; none: no limit.
    pub fn new(
        requests_per_second: Option<u32>,
        register_per_minute: Option<u32>,
        trusted_proxies: Vec<Network>,
    ) -> Self {
        Self {
            by_key: requests_per_second.map(|limit| Windows::new(limit, SECOND)),
            by_address: register_per_minute.map(|limit| Windows::new(limit, MINUTE)),
            by_token: register_per_minute.map(|limit| Windows::new(limit, MINUTE)),
            trusted_proxies,
        }
    }

    /// Counts a request with a secret key.
    ///
    /// # Errors
    /// There were too many.
    pub fn take_key(&self, key: KeyId) -> Result<(), TooFast> {
        take(self.by_key.as_ref(), key, Scope::Key)
    }

    /// Counts a request with a publishable key by where it came from.
    ///
    /// # Errors
    /// There were too many.
    pub fn take_address(&self, app: AppId, request: &Parts) -> Result<(), TooFast> {
        match client::address(request, &self.trusted_proxies) {
            Some(address) => take(self.by_address.as_ref(), (app, address), Scope::Address),
            None => Ok(()),
        }
    }

    /// Counts a request with a publishable key by the device that it is about.
    ///
    /// # Errors
    /// There were too many.
    pub fn take_token(&self, app: AppId, token: &DeviceToken) -> Result<(), TooFast> {
        take(self.by_token.as_ref(), (app, token.digest()), Scope::Token)
    }
}

fn take<K: Eq + std::hash::Hash>(
    windows: Option<&Windows<K>>,
    client: K,
    scope: Scope,
) -> Result<(), TooFast> {
    let Some(windows) = windows else { return Ok(()) };
    let taken = windows.take(client, Instant::now());
    taken.map_err(|wait| TooFast { limit: windows.limit(), scope, wait })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_whole_seconds_that_suffice() {
        for (millis, secs) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (59_999, 60), (60_000, 60)] {
            let wait = Duration::from_millis(millis);
            assert_eq!(TooFast { limit: 1, scope: Scope::Key, wait }.retry_after_secs(), secs, "{millis}");
        }
    }

    #[test]
    fn without_limits_nobody_is_counted() {
        let rates = Rates::default();
        let key = KeyId::random();
        assert!((0..1000).all(|_| rates.take_key(key).is_ok()));
    }
}
