//! Where a request comes from: the peer, or whom a proxy that is trusted names in `X-Forwarded-For`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::request::Parts;

use crate::domain::Network;

/// The address at the other end of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::api) struct PeerAddress(pub(in crate::api) IpAddr);

/// Whose word a proxy adds to, the last one at the end.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// Bits of an IPv6 address that one client can't choose: it has a whole /64 to itself.
const IPV6_CLIENT: u128 = !0 << 64;

/// The client, as counted; none where there is no connection.
pub(super) fn address(request: &Parts, trusted: &[Network]) -> Option<IpAddr> {
    let PeerAddress(peer) = request.extensions.get()?;
    let values = request.headers.get_all(FORWARDED_FOR).iter();
    // Bytes, not text: what a client put into a line must not make us skip what a proxy added to it.
    let named: Vec<&[u8]> = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).collect();
    Some(counted(origin(*peer, &named, trusted)))
}

/// The peer, if it passes on a client's address and is not trusted with that.
pub(super) fn untrusted_proxy(request: &Parts, trusted: &[Network]) -> Option<IpAddr> {
    let PeerAddress(peer) = request.extensions.get()?;
    let is_trusted = || trusted.iter().any(|network| network.contains(*peer));
    (request.headers.contains_key(FORWARDED_FOR) && !is_trusted()).then(|| peer.to_canonical())
}

/// From the right, past every trusted proxy: what stands left of the first other one is its own invention. What is no
/// address ends the way too; then the proxy that passed it on is who is counted.
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

/// Some proxies add the port.
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
    fn only_trusted_proxies_are_believed_and_only_from_the_right() {
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
