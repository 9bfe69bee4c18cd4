//! `GET /metrics`: the metrics of this node, for Prometheus and programs that read its format.
//!
//! It takes no key, so it is only for the node's own network: on `server.internal_listen` for every client that reaches it,
//! and without such a listener for programs on the same machine alone.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{self, Request};
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, CONTENT_TYPE, FORWARDED, HOST, VIA};
use http::{HeaderMap, HeaderName, Uri};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{ApiError, MetricsProblems, NotFoundKind};
use super::rates::PeerAddress;
use super::scrapes::Scrapes;
use crate::telemetry::metrics::{Exposition, Metrics};

/// The path of the endpoint.
pub(super) const PATH: &str = "/metrics";

/// Headers that proxies and content delivery networks add. A proxy that adds none can't be told from a program on this machine.
const OF_PROXIES: [HeaderName; 6] = [
    FORWARDED,
    VIA,
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-client-ip"),
    HeaderName::from_static("true-client-ip"),
    HeaderName::from_static("cf-connecting-ip"),
];
/// What the names of further headers of proxies begin with, such as `X-Forwarded-For` and `X-Forwarded-Host`.
const OF_PROXIES_BEGIN: &str = "x-forwarded-";

/// Which clients a listener answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum MetricsAccess {
    /// Every client that reaches the listener.
    Network,
    /// Clients on this machine. A request that a proxy or a web page's script made is refused.
    Loopback,
}

#[derive(Clone)]
struct Endpoint {
    metrics: Arc<Metrics>,
    access: MetricsAccess,
    scrapes: Arc<Scrapes>,
}

/// The route, for a router of any state.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(
    metrics: Arc<Metrics>,
    access: MetricsAccess,
) -> OpenApiRouter<S> {
    OpenApiRouter::new().routes(routes!(get)).with_state(Endpoint {
        metrics,
        access,
        scrapes: Arc::default(),
    })
}

/// The metrics of this node
///
/// In Prometheus's text format, or in OpenMetrics if `Accept` names it. Without a key, but only on
/// `server.internal_listen`. Without that listener: only for programs on the same machine, without a proxy between.
#[utoipa::path(
    get, path = PATH, operation_id = "metrics", tag = "operation", security(()),
    responses(
        (status = 200, description = "The metrics.", content(
            (String = "text/plain", example = json!("# HELP pushpost_leader 1 on the leader.\n# TYPE pushpost_leader gauge\npushpost_leader 1\n")),
            (String = "application/openmetrics-text", example = json!("# TYPE pushpost_leader gauge\npushpost_leader 1\n# EOF\n")),
        )),
        MetricsProblems,
    )
)]
async fn get(
    extract::State(Endpoint { metrics, access, scrapes }): extract::State<Endpoint>,
    request: Request,
) -> Result<Response, ApiError> {
    if access == MetricsAccess::Loopback && !is_local(&request) {
        return Err(ApiError::NotFound(NotFoundKind::Path));
    }
    let form = exposition(request.headers());
    let text = scrapes.text(form, metrics).await?;
    Ok(([(CONTENT_TYPE, form.content_type())], text).into_response())
}

/// Does the request come from a program on this machine, without a proxy between? A name as `Host` would let in the page of a
/// web site with a name that resolves to this machine.
fn is_local(request: &Request) -> bool {
    let is_loopback = |PeerAddress(peer): &PeerAddress| peer.to_canonical().is_loopback();
    let headers = request.headers();
    request.extensions().get().is_some_and(is_loopback)
        && !headers.keys().any(is_of_proxy)
        && host(request.uri(), headers).is_some_and(|host| is_address_or_localhost(&host))
}

fn is_of_proxy(name: &HeaderName) -> bool {
    OF_PROXIES.contains(name) || name.as_str().starts_with(OF_PROXIES_BEGIN)
}

/// The host that the client asked, without its port.
fn host(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    if let Some(host) = uri.host() {
        return Some(host.to_owned());
    }
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next().filter(|_| hosts.next().is_none())?.to_str().ok()?;
    Some(host.parse::<http::uri::Authority>().ok()?.host().to_owned())
}

fn is_address_or_localhost(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().is_ok() || host.eq_ignore_ascii_case("localhost")
}

/// OpenMetrics if the client names it, unless with a weight of 0. Prometheus weighs it higher than text.
fn exposition(headers: &HeaderMap) -> Exposition {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = accepted.flat_map(|value| value.split(','));
    let names_it = ranges.any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_it =
            parts.next().is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
        let is_refused = |part: &str| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0_f32));
        is_it && !parts.any(is_refused)
    });
    if names_it { Exposition::OpenMetrics } else { Exposition::Text }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn request(peer: &str, headers: &[(&str, &str)]) -> Request {
        let mut request = Request::builder().uri("/metrics");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).expect("a request");
        request.extensions_mut().insert(PeerAddress(peer.parse().expect("an address")));
        request
    }

    #[test]
    fn only_programs_on_this_machine_count_as_local() {
        for host in ["127.0.0.1:8080", "[::1]:8080", "[::1]", "localhost", "LOCALHOST:1", "10.0.0.7"] {
            assert!(is_local(&request("127.0.0.1", &[("host", host)])), "{host}");
        }
        assert!(is_local(&request("::1", &[("host", "localhost")])));
        assert!(is_local(&request("::ffff:127.0.0.1", &[("host", "localhost")])));
        for host in ["push.example.com", "localhost.example.com", "127.0.0.1.example.com:80", "", "a b"] {
            assert!(!is_local(&request("127.0.0.1", &[("host", host)])), "{host}");
        }
        assert!(!is_local(&request("127.0.0.1", &[])), "no host");
        assert!(!is_local(&request("127.0.0.1", &[("host", "localhost"), ("host", "localhost")])));
        assert!(!is_local(&request("10.0.0.7", &[("host", "localhost")])), "another machine");
        for proxy in
            ["forwarded", "x-forwarded-for", "x-forwarded-host", "via", "x-real-ip", "cf-connecting-ip"]
        {
            assert!(!is_local(&request("127.0.0.1", &[("host", "localhost"), (proxy, "")])), "{proxy}");
        }
    }

    #[test]
    fn openmetrics_is_answered_to_those_that_name_it() {
        let of = |accept: &str| exposition(request("::1", &[("accept", accept)]).headers());
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(of(prometheus), Exposition::OpenMetrics);
        assert_eq!(of("application/OpenMetrics-Text"), Exposition::OpenMetrics);
        assert_eq!(of("application/openmetrics-text; q=0, text/plain"), Exposition::Text);
        assert_eq!(of("*/*"), Exposition::Text);
        assert_eq!(exposition(&HeaderMap::new()), Exposition::Text);
    }
}
