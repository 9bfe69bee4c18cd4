//! Ranges of IP addresses, as the setting `server.trusted_proxies` lists them.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// An address, or a range in CIDR form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network(IpNet);

/// The error of a text that is neither an address nor a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("must be IP addresses or ranges, such as \"10.0.0.0/8\" or \"::1\"")]
pub struct BadNetwork;

impl Network {
    /// Reads `10.0.0.0/8` or `10.1.2.3`.
    pub fn parse(text: &str) -> Result<Self, BadNetwork> {
        let network = match text.contains('/') {
            true => text.parse().map_err(|_| BadNetwork)?,
            false => IpNet::from(text.parse::<IpAddr>().map_err(|_| BadNetwork)?.to_canonical()),
        };
        Ok(Self(network))
    }

    /// Is the address in the range? An IPv4 address in IPv6 form counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(network: &str, address: &str) -> bool {
        Network::parse(network).expect("a network").contains(address.parse().expect("an address"))
    }

    #[test]
    fn a_range_contains_addresses_with_its_leading_bits() {
        assert!(within("10.0.0.0/8", "10.200.3.4"));
        assert!(!within("10.0.0.0/8", "11.0.0.1"));
        assert!(within("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(within("::ffff:10.1.2.3", "10.1.2.3"));
        assert!(within("0.0.0.0/0", "192.0.2.1"));
        assert!(within("192.0.2.1", "192.0.2.1"));
        assert!(!within("192.0.2.1", "192.0.2.2"));
        assert!(within("2001:db8::/32", "2001:db8:1::1"));
        assert!(within("::/0", "2001:db8::1"));
        assert!(!within("::/0", "192.0.2.1"));
    }

    #[test]
    fn other_texts_are_refused() {
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "proxy.example", "::1/129", "10.0.0.0/"] {
            assert_eq!(Network::parse(wrong), Err(BadNetwork), "{wrong}");
        }
    }
}
