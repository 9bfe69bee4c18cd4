//! Proxies that the configuration does not know, told once each.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Most addresses that are told: any client may send the header, from any address.
const TOLD_MAX: usize = 8;

/// Addresses that were told.
#[derive(Debug, Default)]
pub(super) struct UntrustedProxies(Mutex<BTreeSet<IpAddr>>);

impl UntrustedProxies {
    /// Logs an address, unless it was logged before, or too many others were.
    pub(super) fn tell(&self, address: IpAddr) {
        if self.is_new(address) {
            tracing::warn!(
                %address,
                detail = "every client behind it counts as one address, and all of them share limits.register_per_minute",
                hint = format!("if it is your proxy, set server.trusted_proxies = [\"{address}\"]"),
                "X-Forwarded-For comes from an address that is not in server.trusted_proxies"
            );
        }
    }

    fn is_new(&self, address: IpAddr) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.len() < TOLD_MAX && told.insert(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_is_told_once_and_no_more_than_some() {
        let proxies = UntrustedProxies::default();
        let new = |last: u8| proxies.is_new(IpAddr::from([10, 0, 0, last]));
        assert!(new(1) && new(2));
        assert!(!new(1) && !new(2));
        assert_eq!((3..100).filter(|last| new(*last)).count(), TOLD_MAX - 2);
    }
}
