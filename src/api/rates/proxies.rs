//! Logs addresses that send `X-Forwarded-For` but are not in `server.trusted_proxies`, once each.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Addresses logged at most, because any client may send the header.
const LOGGED_MAX: usize = 8;

/// The addresses that were logged.
#[derive(Debug, Default)]
pub(super) struct UntrustedProxies(Mutex<BTreeSet<IpAddr>>);

impl UntrustedProxies {
    /// Logs an address, unless it was logged before, or too many others were.
    pub(super) fn log(&self, address: IpAddr) {
        if self.is_new(address) {
            tracing::warn!(
                %address,
                detail = "every client behind it counts as one address, and all of them share limits.register_per_minute",
                hint = format!("if this is your proxy, set server.trusted_proxies = [\"{address}\"]"),
                "X-Forwarded-For comes from an address that is not in server.trusted_proxies"
            );
        }
    }

    fn is_new(&self, address: IpAddr) -> bool {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        logged.len() < LOGGED_MAX && logged.insert(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_logged_once_and_not_more_than_the_limit() {
        let proxies = UntrustedProxies::default();
        let new = |last: u8| proxies.is_new(IpAddr::from([10, 0, 0, last]));
        assert!(new(1) && new(2));
        assert!(!new(1) && !new(2));
        assert_eq!((3..100).filter(|last| new(*last)).count(), LOGGED_MAX - 2);
    }
}
