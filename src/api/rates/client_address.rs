//! The client address of a request: the peer's, or the one that a trusted proxy names in `X-Forwarded-For`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::request::Parts;

use crate::domain::Network;

/// The address at the other end of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::api) struct PeerAddress(pub(in crate::api) IpAddr);

/// The header to which each proxy adds the address of its peer, at the end.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// The bits of an IPv6 address that a client can't choose, because it usually has a whole /64.
const IPV6_CLIENT: u128 = !0 << 64;

/// The address that a request is counted by; none without a connection, as in tests.
pub(super) fn address(request: &Parts, trusted: &[Network]) -> Option<IpAddr> {
    full_address(request, trusted).map(counted)
}

/// Is the other end of the connection a trusted proxy?
pub(super) fn has_trusted_peer(request: &Parts, trusted: &[Network]) -> bool {
    let peer = request.extensions.get::<PeerAddress>();
    peer.is_some_and(|PeerAddress(peer)| trusted.iter().any(|network| network.contains(*peer)))
}

/// The address of the client; none without a connection, as in tests.
pub(super) fn full_address(request: &Parts, trusted: &[Network]) -> Option<IpAddr> {
    let PeerAddress(peer) = request.extensions.get()?;
    let values = request.headers.get_all(FORWARDED_FOR).iter();
    // Bytes, not text: invalid text from a client must not hide what a proxy added to the same line.
    let named: Vec<&[u8]> = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).collect();
    Some(origin(*peer, &named, trusted).to_canonical())
}

/// The peer, if it sends `X-Forwarded-For` and is not trusted.
pub(super) fn untrusted_proxy(request: &Parts, trusted: &[Network]) -> Option<IpAddr> {
    let PeerAddress(peer) = request.extensions.get()?;
    let is_trusted = || trusted.iter().any(|network| network.contains(*peer));
    (request.headers.contains_key(FORWARDED_FOR) && !is_trusted()).then(|| peer.to_canonical())
}

/// Goes through the addresses from the right, past every trusted proxy, to the first other address. Everything left of
/// it may be forged. Text that is not an address ends the search, and the proxy that sent it is counted.
fn origin(peer: IpAddr, named: &[&[u8]], trusted: &[Network]) -> IpAddr {
    let mut here = peer;
    for name in named.iter().rev() {
        if !trusted.iter().any(|network| network.contains(here)) {
            break;
        }
        match std::str::from_utf8(name).ok().and_then(|name| parse(name.trim())) {
            Some(address) => here = address,
            None => break,
        }
    }
    here
}

/// Parses an address, which some proxies write with a port.
fn parse(name: &str) -> Option<IpAddr> {
    let with_port = || name.parse::<SocketAddr>().ok().map(|address| address.ip());
    let bracketed = || name.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    name.parse().ok().or_else(with_port).or_else(bracketed)
}

fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & IPV6_CLIENT)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn client(peer: &str, headers: &[&str], trusted: &[&str]) -> String {
        let mut request = Request::builder();
        for header in headers {
            let header = http::HeaderValue::from_bytes(header.as_bytes()).expect("a header's value");
            request = request.header("X-Forwarded-For", header);
        }
        let (mut parts, ()) = request.body(()).expect("a request").into_parts();
        parts.extensions.insert(PeerAddress(peer.parse().expect("an address")));
        let trusted: Vec<_> = trusted.iter().map(|text| Network::parse(text).expect("a network")).collect();
        address(&parts, &trusted).expect("a peer").to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed_from_the_right() {
        let proxies = ["10.0.0.0/8", "2001:db8:1::/48"];
        for (peer, headers, expected) in [
            ("192.0.2.1", &[][..], "192.0.2.1"),
            ("192.0.2.1", &["198.51.100.7"], "192.0.2.1"),
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["203.0.113.9, 198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["203.0.113.9, 198.51.100.7, 10.0.0.2"], "198.51.100.7"),
            ("10.0.0.1", &["203.0.113.9", "198.51.100.7", "10.0.0.2"], "198.51.100.7"),
            ("10.0.0.1", &["198.51.100.7:4711"], "198.51.100.7"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["198.51.100.7, unknown"], "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9", "é, 198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["203.0.113.9", "é"], "10.0.0.1"),
            ("::ffff:10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("2001:db8:1::1", &["::ffff:198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["[2001:db8:2:3:4:5:6:7]:443"], "2001:db8:2:3::"),
            ("10.0.0.1", &["[2001:db8:2:3:4:5:6:7]"], "2001:db8:2:3::"),
        ] {
            assert_eq!(client(peer, headers, &proxies), expected, "{peer} {headers:?}");
        }
    }

    #[test]
    fn all_of_an_ipv6_network_of_64_bits_is_one_client() {
        assert_eq!(client("2001:db8:2:3::1", &[], &[]), client("2001:db8:2:3:ffff::2", &[], &[]));
        assert_ne!(client("2001:db8:2:3::1", &[], &[]), client("2001:db8:2:4::1", &[], &[]));
    }
}
