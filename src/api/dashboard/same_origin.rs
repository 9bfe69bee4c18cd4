//! Which requests come from a page of this dashboard. A cookie alone does not say so: the browser may add it to what another page asks.

use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderName};

use crate::api::State;
use crate::api::error::ApiError;

/// A header that no form can send, and a script of another origin only after a preflight, which is refused.
const MARK: HeaderName = HeaderName::from_static("x-pushpost-dashboard");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Checks that a page of this dashboard asks.
///
/// # Errors
/// The mark is missing, or the origin is another one.
pub(super) fn require(request: &Parts, state: &State) -> Result<(), ApiError> {
    let headers = &request.headers;
    if only(headers, &MARK) != Some("1") {
        return Err(ApiError::CrossSite("A change needs the header `X-Pushpost-Dashboard: 1`."));
    }
    let is_same =
        Seen::of(request, state).zip(only(headers, &ORIGIN)).is_some_and(|(seen, origin)| seen.is(origin));
    if is_same {
        return Ok(());
    }
    Err(ApiError::CrossSite(
        "The `Origin` is not the host that was asked. Behind a proxy, the proxy keeps `Host`, or it sends `X-Forwarded-Host` and its \
         address is in `server.trusted_proxies`.",
    ))
}

/// Did the client come by TLS? A node speaks none itself, so a trusted proxy says so.
pub(super) fn is_secure(request: &Parts, state: &State) -> bool {
    state.rates.trusts_peer(request)
        && scheme(request).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"))
}

/// The address of the dashboard, as the browser sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seen<'a> {
    host: &'a str,
    /// None: no trusted proxy says it.
    scheme: Option<&'a str>,
}

impl<'a> Seen<'a> {
    fn of(request: &'a Parts, state: &State) -> Option<Self> {
        let trusts = state.rates.trusts_peer(request);
        let forwarded = request.headers.get(FORWARDED_HOST).filter(|_| trusts);
        let host = match forwarded {
            Some(value) => first(value.to_str().ok()?),
            None => match request.headers.contains_key(HOST) {
                true => only(&request.headers, &HOST)?,
                // HTTP/2 has the host in the pseudo header.
                false => request.uri.authority()?.as_str(),
            },
        };
        Some(Self { host, scheme: scheme(request).filter(|_| trusts) })
    }

    fn is(self, origin: &str) -> bool {
        let Some((scheme, authority)) = origin.split_once("://") else { return false };
        let default_port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => return false,
        };
        let without_default = |authority: &'_ str| {
            authority.strip_suffix(default_port).unwrap_or(authority).to_ascii_lowercase()
        };
        let has_scheme = self.scheme.is_none_or(|seen| seen.eq_ignore_ascii_case(scheme));
        has_scheme && !authority.is_empty() && without_default(self.host) == without_default(authority)
    }
}

/// What the first proxy, the one that the browser talks to, says about the scheme.
fn scheme(request: &Parts) -> Option<&str> {
    request.headers.get(FORWARDED_PROTO)?.to_str().ok().map(first)
}

fn first(list: &str) -> &str {
    list.split(',').next().unwrap_or_default().trim()
}

/// The value of a header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(only), None) => only.to_str().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_the_same_if_host_and_port_are() {
        for (host, scheme, origin, expected) in [
            ("push.example.com", None, "https://push.example.com", true),
            ("push.example.com", None, "http://push.example.com", true),
            ("push.example.com:443", None, "https://push.example.com", true),
            ("Push.Example.com", Some("https"), "https://push.example.com", true),
            ("localhost:9090", None, "http://localhost:9090", true),
            ("[::1]:9090", None, "http://[::1]:9090", true),
            ("push.example.com", Some("https"), "http://push.example.com", false),
            ("localhost:9090", None, "http://localhost:9091", false),
            ("localhost:9090", None, "http://localhost", false),
            ("push.example.com", None, "https://evil.example.com", false),
            ("push.example.com", None, "https://push.example.com.evil.com", false),
            ("push.example.com", None, "null", false),
            ("push.example.com", None, "capacitor://push.example.com", false),
            ("", None, "https://", false),
        ] {
            assert_eq!(Seen { host, scheme }.is(origin), expected, "{host} {scheme:?} {origin}");
        }
    }
}
