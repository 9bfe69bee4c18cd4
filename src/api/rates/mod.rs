//! Rate limits of requests, counted on each node separately. Used by `auth` and the registration of devices.
//!
//! A backend is counted by its key. All phones of an app have the same publishable key, so their requests are counted
//! by client address and by device token.

mod client_address;
mod proxies;
mod window;

use std::net::IpAddr;
use std::time::Duration;

use http::request::Parts;
use tokio::time::Instant;

use crate::domain::{AppId, DeviceToken, KeyId, Network, TokenDigest};
use crate::events::webhooks::{TESTS_OF_APP_MAX, TestRefused};
use crate::registry::keys;
use proxies::UntrustedProxies;
use window::FixedWindows;

pub(super) use client_address::PeerAddress;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// Look-ups of unknown keys per client and minute. Each one is a query. A client that repeats the same wrong key needs
/// only one, because the result is cached.
const UNKNOWN_KEYS_PER_MINUTE: u32 = 60;
/// Tries to log in to the dashboard per client and minute. Each person needs one a day.
const LOGINS_PER_MINUTE: u32 = 5;

/// The limits, with the counts of their current time windows.
#[derive(Debug, Default)]
pub struct RateLimiter {
    by_key: Option<FixedWindows<KeyId>>,
    by_address: Option<FixedWindows<(AppId, IpAddr)>>,
    by_token: Option<FixedWindows<(AppId, TokenDigest)>>,
    unknown_keys: Option<FixedWindows<IpAddr>>,
    logins: Option<FixedWindows<IpAddr>>,
    trusted_proxies: Vec<Network>,
    untrusted_proxies: UntrustedProxies,
}

/// The limits by what they count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RateScope {
    /// Requests with one secret key, per second.
    Key,
    /// Requests with a publishable key from one address, per minute.
    Address,
    /// Requests with a publishable key about one device token, per minute.
    Token,
    /// Requests with an unknown key from one address, per minute.
    UnknownKeys,
    /// Tries to log in to the dashboard from one address, per minute.
    Logins,
    /// Tests of one webhook, at the same time.
    WebhookTests,
    /// Tests of the webhooks of one app, at the same time.
    AppTests,
}

impl RateScope {
    /// The value of `scope` in the answer.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Address | Self::UnknownKeys | Self::Logins => "address",
            Self::Token => "token",
            Self::WebhookTests => "webhook",
            Self::AppTests => "app",
        }
    }

    /// The words after the number in the answer's text.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Key => "a second with one key",
            Self::Address => "a minute from one address",
            Self::Token => "a minute about one device token",
            Self::UnknownKeys => "a minute with unknown keys from one address",
            Self::Logins => "a minute to log in from one address",
            Self::WebhookTests => "at the same time to test one webhook",
            Self::AppTests => "at the same time to test webhooks of one app",
        }
    }
}

/// A request was refused, because a limit was reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateExceeded {
    /// Requests allowed per second or minute, or at the same time.
    pub limit: u32,
    /// The limit that was reached.
    pub scope: RateScope,
    /// Time until a request is accepted again.
    pub wait: Duration,
}

impl RateExceeded {
    /// Whole seconds for `Retry-After`: rounded up, at least 1.
    pub fn retry_after_secs(&self) -> u64 {
        self.wait.as_secs() + u64::from(self.wait.subsec_nanos() > 0 || self.wait.is_zero())
    }
}

impl From<TestRefused> for RateExceeded {
    fn from(refused: TestRefused) -> Self {
        let (limit, scope) = match refused {
            TestRefused::Webhook => (1, RateScope::WebhookTests),
            TestRefused::App => (TESTS_OF_APP_MAX, RateScope::AppTests),
        };
        Self { limit, scope, wait: TestRefused::WAIT_MAX }
    }
}

impl RateLimiter {
    /// With these limits per second and key, and per minute and client address or token. None: no limit.
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
            logins: Some(FixedWindows::new(LOGINS_PER_MINUTE, MINUTE)),
            trusted_proxies,
            untrusted_proxies: UntrustedProxies::default(),
        }
    }

    /// Logs once per address that requests come through a proxy that is not trusted, so that all its clients are
    /// counted as one.
    pub(super) fn note_proxy(&self, request: &Parts) {
        if let Some(address) = client_address::untrusted_proxy(request, &self.trusted_proxies) {
            self.untrusted_proxies.log(address);
        }
    }

    /// The limit of look-ups of unknown keys, for the client of a request.
    pub(super) fn unknown_keys(&self, request: &Parts) -> UnknownKeyLimit<'_> {
        let client = client_address::address(request, &self.trusted_proxies);
        UnknownKeyLimit(self.unknown_keys.as_ref().zip(client))
    }

    /// Does the request come from a proxy that is believed about its clients?
    pub(super) fn trusts_peer(&self, request: &Parts) -> bool {
        client_address::has_trusted_peer(request, &self.trusted_proxies)
    }

    /// The address of the client, for the log. None: there is no connection, as in tests.
    pub(super) fn client_address(&self, request: &Parts) -> Option<IpAddr> {
        client_address::full_address(request, &self.trusted_proxies)
    }

    /// Counts a try to log in by its client address.
    ///
    /// # Errors
    /// The limit is reached.
    pub(super) fn take_login(&self, request: &Parts) -> Result<(), RateExceeded> {
        match client_address::address(request, &self.trusted_proxies) {
            Some(address) => take(self.logins.as_ref(), address, RateScope::Logins),
            None => Ok(()),
        }
    }

    /// Counts a request with a secret key.
    ///
    /// # Errors
    /// The limit is reached.
    pub fn take_key(&self, key: KeyId) -> Result<(), RateExceeded> {
        take(self.by_key.as_ref(), key, RateScope::Key)
    }

    /// Counts a request with a publishable key by its client address.
    ///
    /// # Errors
    /// The limit is reached.
    pub fn take_address(&self, app: AppId, request: &Parts) -> Result<(), RateExceeded> {
        match client_address::address(request, &self.trusted_proxies) {
            Some(address) => take(self.by_address.as_ref(), (app, address), RateScope::Address),
            None => Ok(()),
        }
    }

    /// Counts a request with a publishable key by its device token.
    ///
    /// # Errors
    /// The limit is reached.
    pub fn take_token(&self, app: AppId, token: &DeviceToken) -> Result<(), RateExceeded> {
        take(self.by_token.as_ref(), (app, token.digest()), RateScope::Token)
    }
}

/// The limit of look-ups of unknown keys for one client. None: no limit.
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
            // A count over the limit has no effect.
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
    fn retry_after_is_rounded_up_to_whole_seconds() {
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
    fn requests_are_not_limited_without_limits() {
        let rates = RateLimiter::default();
        let key = KeyId::random();
        assert!((0..1000).all(|_| rates.take_key(key).is_ok()));
    }
}
