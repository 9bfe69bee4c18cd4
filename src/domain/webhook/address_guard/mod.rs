//! Which addresses a webhook may connect to: public ones, and those that the configuration allows. So no URL reaches a
//! service within the operator's network that the operator has not named.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::domain::Network;

/// IPv4 networks that are not public, with what they are for (IANA's special-purpose registry), and two public addresses that
/// answer with secrets of a cloud's machine.
const IPV4: &[(Ipv4Addr, u8, &str)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8, "of this host"),
    (Ipv4Addr::new(10, 0, 0, 0), 8, "private"),
    (Ipv4Addr::new(100, 64, 0, 0), 10, "shared by a carrier's customers"),
    (Ipv4Addr::new(127, 0, 0, 0), 8, "loopback"),
    (Ipv4Addr::new(168, 63, 129, 16), 32, "a cloud's metadata server"),
    (Ipv4Addr::new(169, 254, 0, 0), 16, "link-local, and a cloud's metadata server"),
    (Ipv4Addr::new(172, 16, 0, 0), 12, "private"),
    (Ipv4Addr::new(192, 0, 0, 0), 24, "reserved"),
    (Ipv4Addr::new(192, 0, 2, 0), 24, "for documentation"),
    (Ipv4Addr::new(192, 88, 99, 0), 24, "reserved"),
    (Ipv4Addr::new(192, 168, 0, 0), 16, "private"),
    (Ipv4Addr::new(198, 18, 0, 0), 15, "for benchmarks"),
    (Ipv4Addr::new(198, 51, 100, 0), 24, "for documentation"),
    (Ipv4Addr::new(203, 0, 113, 0), 24, "for documentation"),
    (Ipv4Addr::new(224, 0, 0, 0), 4, "multicast"),
    (Ipv4Addr::new(240, 0, 0, 0), 4, "reserved"),
];

/// IPv6 networks that are not public. Those that embed an IPv4 address are in [`embedded`].
const IPV6: &[(Ipv6Addr, u8, &str)] = &[
    (Ipv6Addr::UNSPECIFIED, 128, "of this host"),
    (Ipv6Addr::LOCALHOST, 128, "loopback"),
    (Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48, "local address translation"),
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, "reserved"),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "for documentation"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "for documentation"),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, "private"),
    (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10, "link-local"),
    (Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0), 10, "private"),
    (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8, "multicast"),
];

/// The part of IPv6 that is given to networks of the internet (RFC 4291).
const GLOBAL_UNICAST: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Judges addresses right before they are connected to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct AddressGuard {
    allowed: Vec<Network>,
}

/// Why an address is not connected to. The text names what would allow it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RefusedAddress {
    /// The address is not public.
    #[error(
        "{address} is {purpose}; to allow it, add \"{network}\" to webhooks.allow_networks and restart the nodes"
    )]
    NotPublic {
        /// The one that the name of the host was resolved to.
        address: IpAddr,
        /// What the network is for.
        purpose: &'static str,
        /// The network to allow.
        network: IpNet,
    },
    /// The connection would not be encrypted.
    #[error(
        "http to {address} is not encrypted; use https, or add \"{address}\" to webhooks.allow_networks and restart the nodes"
    )]
    NotEncrypted {
        /// A public one.
        address: IpAddr,
    },
}

impl AddressGuard {
    /// `allowed`: the networks of `webhooks.allow_networks`.
    pub fn new(allowed: Vec<Network>) -> Self {
        Self { allowed }
    }

    /// Whether the address may be connected to.
    ///
    /// # Errors
    /// The address is not public and in no allowed network, or it is public and the connection is not encrypted.
    pub fn judge(&self, address: IpAddr, is_encrypted: bool) -> Result<(), RefusedAddress> {
        let Embedded { inner: embedded, is_routed_by_them } = match address {
            IpAddr::V4(_) => Embedded::default(),
            IpAddr::V6(address) => embedded(address),
        };
        let is_allowed = |address: IpAddr| self.allowed.iter().any(|network| network.contains(address));
        if is_allowed(address) {
            return Ok(());
        }
        // Traffic to such an address ends at the address within, so that one is judged.
        for inner in &embedded {
            let inner = IpAddr::V4(*inner);
            if !is_allowed(inner)
                && let Some((purpose, network)) = special(inner)
            {
                return Err(RefusedAddress::NotPublic { address, purpose, network });
            }
        }
        let is_inner_allowed = |inner: &Ipv4Addr| is_allowed(IpAddr::V4(*inner));
        if is_routed_by_them && embedded.iter().all(is_inner_allowed) {
            return Ok(());
        }
        if !is_routed_by_them && let Some((purpose, network)) = special(address) {
            return Err(RefusedAddress::NotPublic { address, purpose, network });
        }
        if is_encrypted { Ok(()) } else { Err(RefusedAddress::NotEncrypted { address }) }
    }
}

/// What an address that is not public is for, and its network; none for a public one.
fn special(address: IpAddr) -> Option<(&'static str, IpNet)> {
    match address {
        IpAddr::V4(address) => IPV4.iter().find_map(|(first, length, purpose)| {
            let network = Ipv4Net::new(*first, *length).expect("the table has lengths of networks");
            network.contains(&address).then_some((*purpose, IpNet::V4(network)))
        }),
        IpAddr::V6(address) => {
            let known = IPV6.iter().find_map(|(first, length, purpose)| {
                let network = Ipv6Net::new(*first, *length).expect("the table has lengths of networks");
                network.contains(&address).then_some((*purpose, IpNet::V6(network)))
            });
            let (first, length) = GLOBAL_UNICAST;
            let global = Ipv6Net::new(first, length).expect("it is the length of a network");
            let reserved =
                || (!global.contains(&address)).then(|| ("reserved", IpNet::from(IpAddr::V6(address))));
            known.or_else(reserved)
        }
    }
}

/// The IPv4 addresses that packets to an IPv6 address may end at.
#[derive(Default)]
struct Embedded {
    inner: Vec<Ipv4Addr>,
    /// The network of the address exists only to reach them, so it need not be public itself.
    is_routed_by_them: bool,
}

/// Mapped (RFC 4291), NAT64 (RFC 6052), 6to4 (RFC 3056), and Teredo (RFC 4380), which has the address of its server and, inverted,
/// that of its client. ISATAP (RFC 5214) may be in any network, also in one of 6to4. Other forms are in networks that are refused as
/// a whole: compatible (`::/96`), translated (`::ffff:0:0:0/96`), and NAT64 for local use (`64:ff9b:1::/48`).
fn embedded(address: Ipv6Addr) -> Embedded {
    let parts = address.segments();
    let at = |index: usize| Ipv4Addr::from(u32::from(parts[index]) << 16 | u32::from(parts[index + 1]));
    let mut inner = match parts {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => vec![at(6)],
        [0x2002, ..] => vec![at(1)],
        [0x2001, 0, ..] => vec![at(2), Ipv4Addr::from(!u32::from(at(6)))],
        _ => Vec::new(),
    };
    let is_routed_by_them = !inner.is_empty();
    // The other bits of this part say whether the identifier is unique and whether it is a group's.
    if parts[4] & !0x0300 == 0 && parts[5] == 0x5efe {
        inner.push(at(6));
    }
    Embedded { inner, is_routed_by_them }
}

#[cfg(test)]
mod tests;
