//! Origins of web pages and web-view apps, as browsers send them in the header `Origin`.

use std::fmt;

/// An exact origin: `https://app.example.com`, `http://localhost:8100`, `capacitor://localhost`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin(String);

/// Why a text is not an origin that a browser sends.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadOrigin {
    /// The text is `*` or `null`.
    #[error("must be exact origins: neither \"*\" nor \"null\"")]
    Any,
    /// The text does not have the form of an origin.
    #[error("must be origins such as \"https://app.example.com\" or \"capacitor://localhost\"")]
    Form,
    /// The text is an origin, but a browser spells it in this other way.
    #[error("must be written as browsers send it: {0:?}")]
    Spelling(String),
}

impl Origin {
    /// Parses an origin. It must be spelt as browsers spell it, because origins are compared as texts.
    pub fn parse(text: &str) -> Result<Self, BadOrigin> {
        if text == "*" || text == "null" {
            return Err(BadOrigin::Any);
        }
        let (scheme, rest) = text.split_once("://").ok_or(BadOrigin::Form)?;
        // A path is dropped and reported as a wrong spelling: most often it is one slash.
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (scheme, authority) = (scheme.to_ascii_lowercase(), authority.to_ascii_lowercase());
        let (host, port) = host_and_port(&authority).ok_or(BadOrigin::Form)?;
        if !is_scheme(&scheme) || !is_host(host) {
            return Err(BadOrigin::Form);
        }
        let default = matches!((scheme.as_str(), port), ("http", Some(80)) | ("https", Some(443)));
        let sent = match port.filter(|_| !default) {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        };
        if sent == text { Ok(Self(sent)) } else { Err(BadOrigin::Spelling(sent)) }
    }

    /// The text that browsers send.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let end_of_host = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end_of_host);
    match port.strip_prefix(':') {
        Some(port) => Some((host, Some(port.parse().ok()?))),
        None => port.is_empty().then_some((host, None)),
    }
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

/// Is it a host name in ASCII form, or an address?
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_of_browsers_and_web_views_are_parsed() {
        for origin in [
            "https://app.example.com",
            "http://localhost",
            "http://localhost:8100",
            "http://127.0.0.1:3000",
            "http://[::1]:3000",
            "capacitor://localhost",
            "ionic://localhost",
            "https://xn--bcher-kva.example",
        ] {
            assert_eq!(Origin::parse(origin).expect(origin).as_str(), origin);
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_right_spelling() {
        for (text, sent) in [
            ("https://app.example.com/", "https://app.example.com"),
            ("https://app.example.com/path?x", "https://app.example.com"),
            ("https://App.Example.com", "https://app.example.com"),
            ("HTTPS://app.example.com:443", "https://app.example.com"),
            ("http://localhost:80", "http://localhost"),
            ("http://localhost:08100", "http://localhost:8100"),
        ] {
            assert_eq!(Origin::parse(text), Err(BadOrigin::Spelling(sent.to_owned())), "{text}");
        }
        for text in [
            "",
            "app.example.com",
            "https://",
            "https://*.example.com",
            "https://bücher.example",
            "https://user@example.com",
            "https://example.com:port",
            "https://example.com:99999",
            "https://[::1",
            "1http://x",
            "://x",
        ] {
            assert_eq!(Origin::parse(text), Err(BadOrigin::Form), "{text}");
        }
        assert_eq!([Origin::parse("*"), Origin::parse("null")], [Err(BadOrigin::Any), Err(BadOrigin::Any)]);
    }
}
