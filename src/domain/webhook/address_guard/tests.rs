//! Tables of addresses, and properties over all addresses.

use proptest::prelude::*;

use super::*;

fn guard(allowed: &[&str]) -> AddressGuard {
    AddressGuard::new(allowed.iter().map(|text| Network::parse(text).expect("a network")).collect())
}

fn judged(guard: &AddressGuard, address: &str) -> Result<(), RefusedAddress> {
    guard.judge(address.parse().expect("an address"), true)
}

#[test]
fn addresses_that_are_not_public_are_refused() {
    let none = guard(&[]);
    for address in [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.168.1.1",
        "198.19.0.1",
        "203.0.113.9",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::8.8.8.8",
        "::ffff:0:8.8.8.8",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a00:1",
        "64:ff9b:1::808:808",
        "64:ff9b:1:a00:0:100::",
        "64:ff9b:1:ffff:0:5efe:808:808",
        "2606:4700::5efe:a00:1",
        "2606:4700::200:5efe:a9fe:a9fe",
        "2606:4700::100:5efe:7f00:1",
        "2606:4700:1:2:300:5efe:c0a8:1",
        "2002:808:808::5efe:a00:1",
        "2002:a00:1::5efe:808:808",
        "fe80::5efe:808:808",
        "fd00::200:5efe:808:808",
        "100::1",
        "2001:db8::1",
        "2001:20::1",
        "2002:7f00:1::1",
        "2002:a9fe:a9fe::1",
        "3fff::1",
        "4000::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ] {
        assert!(judged(&none, address).is_err(), "{address}");
    }
    // Teredo: the server 192.168.0.1; a client at 10.0.0.1, in inverted form; both public.
    assert!(judged(&none, "2001:0:c0a8:1::f7f7:f7f7").is_err());
    assert!(judged(&none, "2001:0:808:808::f5ff:fffe").is_err());
    assert!(judged(&none, "2001:0:808:808::f7f7:f7f7").is_ok());
}

#[test]
fn public_addresses_are_reached_by_https_alone() {
    let none = guard(&[]);
    for address in [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "223.255.255.255",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::1",
        "2606:4700::1111",
        "2606:4700::5efe:808:808",
        "2606:4700::200:5efe:808:808",
        "2606:4700::400:5efe:a00:1",
        "2606:4700::5eff:a00:1",
        "2606:4700::a00:1",
    ] {
        assert!(judged(&none, address).is_ok(), "{address}");
        let parsed = address.parse().expect("an address");
        let refused = none.judge(parsed, false);
        assert_eq!(refused, Err(RefusedAddress::NotEncrypted { address: parsed }), "{address}");
    }
}

#[test]
fn an_allowed_network_is_reached_also_without_encryption() {
    let some = guard(&["10.0.0.0/8", "127.0.0.1", "fd00::/8", "64:ff9b::/96"]);
    for address in
        ["10.1.2.3", "127.0.0.1", "::ffff:10.1.2.3", "2002:a01:203::1", "fd00::1", "64:ff9b::a9fe:a9fe"]
    {
        let address = address.parse().expect("an address");
        assert_eq!(some.judge(address, false), Ok(()), "{address}");
    }
    // Of ISATAP, the address within is allowed, but the connection to its network is not encrypted.
    let isatap = "2606:4700::5efe:a01:203".parse().expect("an address");
    assert_eq!(some.judge(isatap, true), Ok(()));
    assert_eq!(some.judge(isatap, false), Err(RefusedAddress::NotEncrypted { address: isatap }));
    for address in
        ["fe80::5efe:a01:203", "127.0.0.2", "192.168.0.1", "169.254.169.254", "2002:a9fe:a9fe::1", "fc00::1"]
    {
        assert!(judged(&some, address).is_err(), "{address}");
    }
}

#[test]
fn a_refusal_names_the_network_to_allow() {
    let text = |address: &str| judged(&guard(&[]), address).expect_err("it is refused").to_string();
    assert_eq!(
        text("10.1.2.3"),
        "10.1.2.3 is private; to allow it, add \"10.0.0.0/8\" to webhooks.allow_networks and restart the nodes"
    );
    assert_eq!(
        text("::1"),
        "::1 is loopback; to allow it, add \"::1/128\" to webhooks.allow_networks and restart the nodes"
    );
    assert_eq!(
        text("64:ff9b::a9fe:a9fe"),
        "64:ff9b::a9fe:a9fe is link-local, and a cloud's metadata server; to allow it, add \"169.254.0.0/16\" to \
         webhooks.allow_networks and restart the nodes"
    );
}

/// Any address, and often one that embeds another.
fn any_address() -> impl Strategy<Value = IpAddr> {
    let embedding = |prefix: [u16; 6]| {
        any::<u32>().prop_map(move |inner| {
            let [a, b, c, d, e, f] = prefix;
            Ipv6Addr::new(a, b, c, d, e, f, (inner >> 16) as u16, inner as u16)
        })
    };
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())),
        any::<u128>().prop_map(|bits| IpAddr::V6(bits.into())),
        embedding([0, 0, 0, 0, 0, 0xffff]).prop_map(IpAddr::V6),
        embedding([0x64, 0xff9b, 0, 0, 0, 0]).prop_map(IpAddr::V6),
        any::<(u32, u64)>().prop_map(|(inner, rest)| {
            IpAddr::V6((0x2002_u128 << 112 | u128::from(inner) << 80 | u128::from(rest)).into())
        }),
        any::<(u64, bool, u32)>().prop_map(|(network, is_unique, inner)| isatap(network, is_unique, inner)),
        any::<(u32, u32)>().prop_map(|(server, client)| {
            IpAddr::V6((0x2001_u128 << 112 | u128::from(server) << 64 | u128::from(client)).into())
        }),
    ]
}

/// An address of ISATAP in this network.
fn isatap(network: u64, is_unique: bool, inner: u32) -> IpAddr {
    let identifier = u64::from(is_unique) << 57 | 0x5efe << 32 | u64::from(inner);
    IpAddr::V6((u128::from(network) << 64 | u128::from(identifier)).into())
}

/// As the standard library sees it, which knows other words than the tables here.
fn is_plainly_local(address: Ipv4Addr) -> bool {
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_unspecified()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// A form of an address in IPv6 is refused wherever the address itself is.
    #[test]
    fn no_form_of_a_local_address_is_reached(bits in any::<u32>(), low in any::<u64>()) {
        let inner = Ipv4Addr::from(bits);
        let inner_bits = u128::from(bits);
        let none = guard(&[]);
        let refused = none.judge(IpAddr::V4(inner), true).is_err();
        prop_assert!(refused || !is_plainly_local(inner));
        let forms = [
            Ipv6Addr::from(0xffff_u128 << 32 | inner_bits),
            Ipv6Addr::from(0x64_ff9b_u128 << 96 | inner_bits),
            Ipv6Addr::from(0x2002_u128 << 112 | inner_bits << 80 | u128::from(low)),
            Ipv6Addr::from(0x2001_u128 << 112 | 0x808_0808 << 64 | u128::from(!bits)),
        ];
        for form in forms {
            prop_assert_eq!(none.judge(IpAddr::V6(form), true).is_err(), refused, "{}", form);
        }
        for is_unique in [false, true] {
            let form = isatap(0x2606_4700_0000_0000, is_unique, bits);
            prop_assert_eq!(none.judge(form, true).is_err(), refused, "{}", form);
        }
        for whole in [0, 0xffff_u128 << 48, 0x64_ff9b_0001_u128 << 80] {
            prop_assert!(none.judge(IpAddr::V6(Ipv6Addr::from(whole | inner_bits)), true).is_err(), "refused as a whole");
        }
    }

    /// What the text of a refusal names is enough, and no more than the network of the address.
    #[test]
    fn allowing_what_a_refusal_names_allows_the_address(address in any_address(), is_encrypted in any::<bool>()) {
        let mut allowed = Vec::new();
        for _ in 0..3 {
            let guard = AddressGuard::new(allowed.clone());
            match guard.judge(address, is_encrypted) {
                Ok(()) => break,
                Err(RefusedAddress::NotPublic { network, .. }) => {
                    allowed.push(Network::parse(&network.to_string()).expect("a network"));
                }
                Err(RefusedAddress::NotEncrypted { address }) => {
                    allowed.push(Network::parse(&address.to_string()).expect("an address"));
                }
            }
        }
        prop_assert_eq!(AddressGuard::new(allowed).judge(address, is_encrypted), Ok(()));
    }

    #[test]
    fn without_encryption_nothing_is_reached_but_what_is_allowed(address in any_address()) {
        prop_assert!(guard(&[]).judge(address, false).is_err());
    }
}
