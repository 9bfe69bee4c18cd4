//! `/dashboard/api/…`: the calls of pages. They become calls of `/v1/…` before they are routed.

use axum::extract::Request;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderName, Method, Uri};

use super::same_origin;
use super::session::DashboardSession;
use crate::api::State;
use crate::api::error::{ApiError, KeyFault};
use crate::domain::{Scope, Scopes};
use crate::registry::keys::ApiKey;

/// What stands before the path of a call in place of `/v1/`.
const PREFIX: &str = "/dashboard/api/";
/// Calls that `/v1` does not have; they keep their paths.
const OWN: &[&str] = &["live"];
/// The header that chooses the app.
const APP: HeaderName = HeaderName::from_static("x-pushpost-app");
/// The parameter that chooses it, for `EventSource`, which sends no headers of its own.
const APP_PARAMETER: &str = "app";

/// An extension of the requests that pages make: their key is that of the session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::api) struct DashboardCall {
    /// The name of the app; none: the first of the session.
    app: Option<String>,
}

impl DashboardCall {
    /// Makes the call of `/v1` of a request that a page makes. Other requests stay as they are.
    pub(in crate::api) fn route(mut request: Request) -> Request {
        let Some(path) = request.uri().path().strip_prefix(PREFIX) else { return request };
        let path = if OWN.contains(&path) { format!("{PREFIX}{path}") } else { format!("/v1/{path}") };
        let (app, query) = take_app(request.uri().query().unwrap_or_default());
        // Bytes beyond ASCII are in no name, so they choose an app that the session does not have.
        let header =
            request.headers().get(APP).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let whole = if query.is_empty() { path } else { format!("{path}?{query}") };
        // The parts of a valid URI are valid.
        if let Ok(whole) = whole.parse::<PathAndQuery>() {
            let mut parts = request.uri().clone().into_parts();
            parts.path_and_query = Some(whole);
            if let Ok(uri) = Uri::from_parts(parts) {
                *request.uri_mut() = uri;
                request.extensions_mut().insert(Self { app: header.or(app) });
            }
        }
        request
    }
}

/// Takes the app out of a query. Its name has no characters that would be encoded.
fn take_app(query: &str) -> (Option<String>, String) {
    let mut app = None;
    let others = query.split('&').filter(|pair| match pair.split_once('=') {
        Some((APP_PARAMETER, name)) => {
            app.get_or_insert_with(|| name.to_owned());
            false
        }
        _ => !pair.is_empty(),
    });
    let others = others.collect::<Vec<_>>().join("&");
    (app, others)
}

/// The key of the session that a page's call is made with.
///
/// # Errors
/// The call changes something and does not come from a page, or there is no session with a valid key of the app.
pub(in crate::api) async fn session_key(
    call: &DashboardCall,
    request: &Parts,
    state: &State,
) -> Result<ApiKey, ApiError> {
    if request.method != Method::GET && request.method != Method::HEAD {
        same_origin::require(request, state)?;
    }
    let now = state.node_lease.clock().now();
    let session = DashboardSession::of(&request.headers, &state.installation, now);
    if session.0.is_empty() {
        return Err(ApiError::Unauthenticated(KeyFault::NoSession));
    }
    let is_chosen = |name: &str| call.app.as_deref().is_none_or(|chosen| chosen == name);
    let mut logins = session.0.iter();
    let login = logins.find(|login| state.apps.get(login.app).is_some_and(|app| is_chosen(&app.name)));
    let login = login.ok_or(ApiError::Unauthenticated(KeyFault::NoSessionOfApp))?;
    let key = state.keys.find(login.key).await?;
    let key = key.filter(|key| key.app == login.app && opens_dashboard(key.scopes));
    let key = key.ok_or(ApiError::Unauthenticated(KeyFault::NoSessionOfApp))?;
    Ok(ApiKey { scopes: session_scopes(key.scopes), ..key })
}

/// May a key with these scopes log in?
pub(super) fn opens_dashboard(scopes: Scopes) -> bool {
    scopes.has(Scope::Admin) || scopes.has(Scope::Read)
}

/// What a session may do: everything with `admin`, and else only read, whatever else the key may do.
pub(super) fn session_scopes(scopes: Scopes) -> Scopes {
    if scopes.has(Scope::Admin) { scopes } else { Scopes::only(Scope::Read) }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn routed(uri: &str, app: Option<&str>) -> (String, Option<DashboardCall>) {
        let mut request = Request::get(uri);
        if let Some(app) = app {
            request = request.header(APP, app);
        }
        let routed = DashboardCall::route(request.body(Body::empty()).expect("a request"));
        (routed.uri().to_string(), routed.extensions().get().cloned())
    }

    #[test]
    fn a_call_of_a_page_becomes_one_of_the_api() {
        let call = |app: Option<&str>| Some(DashboardCall { app: app.map(str::to_owned) });
        for (uri, header, expected, app) in [
            ("/dashboard/api/devices", None, "/v1/devices", None),
            (
                "/dashboard/api/devices?limit=7&app=shop&user=u%26app",
                None,
                "/v1/devices?limit=7&user=u%26app",
                Some("shop"),
            ),
            ("/dashboard/api/devices?app=shop", Some("other"), "/v1/devices", Some("other")),
            ("/dashboard/api/a%2Fb/../c", None, "/v1/a%2Fb/../c", None),
            ("/dashboard/api/", None, "/v1/", None),
            ("http://host/dashboard/api/x?apps=1", None, "http://host/v1/x?apps=1", None),
        ] {
            assert_eq!(routed(uri, header), (expected.to_owned(), call(app)), "{uri}");
        }
        for other in
            ["/dashboard/api", "/dashboard/session?app=shop", "/v1/devices?app=shop", "/dashboard/apix/"]
        {
            assert_eq!(routed(other, Some("shop")), (other.to_owned(), None));
        }
    }

    #[test]
    fn a_session_without_admin_only_reads() {
        let scopes = |list: &str| Scopes::parse(list).expect("scopes");
        assert_eq!(session_scopes(scopes("read,send,devices")), scopes("read"));
        assert_eq!(session_scopes(scopes("admin,send")), scopes("admin,send"));
        for (list, expected) in
            [("read", true), ("admin", true), ("send", false), ("register", false), ("devices", false)]
        {
            assert_eq!(opens_dashboard(scopes(list)), expected, "{list}");
        }
    }
}
