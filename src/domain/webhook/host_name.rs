//! Names of hosts (RFC 1123), and addresses in their place.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Bytes of a name at most.
const NAME_MAX: usize = 253;
/// Bytes of a part between two dots at most.
const LABEL_MAX: usize = 63;

/// May URLs have this host? It is an address without brackets, or parts of letters, digits, `-` and `_` between dots. `_` is in no
/// name of the internet, but in names of containers.
pub fn is_host_of_urls(text: &str) -> bool {
    let is_label = |label: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=LABEL_MAX).contains(&label.len())
            && label.bytes().all(known)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    text.parse::<Ipv6Addr>().is_ok() || (name.len() <= NAME_MAX && name.split('.').all(is_label))
}

/// Is this one host in its usual form? A name that ends in a number is one form of an address for resolvers, such as `127.1` and
/// `0x7f000001`; of these only the usual one is taken. So is a name without a dot at its end.
pub fn is_host_name(text: &str) -> bool {
    let last = text.rsplit('.').next().unwrap_or_default();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_hex = |text: &str| {
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
        digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let is_address = text.parse::<Ipv4Addr>().is_ok();
    is_host_of_urls(text) && !text.ends_with('.') && (is_address || !(is_number(last) || is_hex(last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for host in [
            "backend.example.com",
            "B.example",
            "localhost",
            "a-b.c1",
            "pushpost_receiver",
            "10.0.0.1",
            "::1",
            "1a",
            "0xg",
        ] {
            assert!(is_host_name(host), "{host}");
        }
        let long = format!("{}.example", "a".repeat(64));
        let longest = vec!["a".repeat(63); 4].join(".");
        for wrong in [
            "",
            "*",
            "*.example.com",
            ".example",
            "a..b",
            "-a.example",
            "a-.example",
            "a b",
            "a/b",
            "a:80",
            "[::1]",
            "%",
            "é",
            "!",
            "a,b",
            "::1::2",
            &long,
            &longest,
        ] {
            assert!(!is_host_name(wrong) && !is_host_of_urls(wrong), "{wrong}");
        }
        for other in ["127.1", "0x7f000001", "2130706433", "10.0.0.256", "a.1", "example.com."] {
            assert!(!is_host_name(other) && is_host_of_urls(other), "{other}");
        }
    }
}
