//! Ranges of IP addresses, as `trusted_proxies` lists them.

use std::fmt;
use std::net::IpAddr;

/// An address, or a range in CIDR form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    address: IpAddr,
    /// Leading bits that count.
    prefix: u8,
}

/// Not an address and not a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("must be IP addresses or ranges, such as \"10.0.0.0/8\" or \"::1\"")]
pub struct BadNetwork;

impl Network {
    /// Reads `10.0.0.0/8` or `10.1.2.3`.
    pub fn parse(text: &str) -> Result<Self, BadNetwork> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| BadNetwork)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(bits), str::parse).map_err(|_| BadNetwork)?;
        if prefix <= bits { Ok(Self { address, prefix }) } else { Err(BadNetwork) }
    }

    /// Is the address within? An IPv4 address in IPv6 form counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(32 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits()).checked_shr(128 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(network: &str, address: &str) -> bool {
        Network::parse(network).expect("a network").contains(address.parse().expect("an address"))
    }

    #[test]
    fn a_range_holds_what_shares_its_leading_bits() {
        assert!(within("10.0.0.0/8", "10.200.3.4"));
        assert!(!within("10.0.0.0/8", "11.0.0.1"));
        assert!(within("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(within("0.0.0.0/0", "192.0.2.1"));
        assert!(within("192.0.2.1", "192.0.2.1"));
        assert!(!within("192.0.2.1", "192.0.2.2"));
        assert!(within("2001:db8::/32", "2001:db8:1::1"));
        assert!(within("::/0", "2001:db8::1"));
        assert!(!within("::/0", "192.0.2.1"));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "proxy.example", "::1/129", "10.0.0.0/"] {
            assert_eq!(Network::parse(wrong), Err(BadNetwork), "{wrong}");
        }
    }
}
