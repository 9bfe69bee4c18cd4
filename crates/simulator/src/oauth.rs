//! Google's token endpoint: the JWT-bearer grant of RFC 7523 as docs/providers.md#google-access-tokens describes it,
//! and all access tokens that were issued. Answers over HTTP/2 and, for clients that insist, HTTP/1.1.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{Method, StatusCode};
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::json;

use super::clock;
use super::entry::Provider;
use super::federation;
use super::jwt;
use super::reply::Reply;
use super::session::{Accepting, Concerning, Plan, Received, Shared};

/// Path of the token endpoint on the FCM port.
pub(super) const PATH: &str = "/token";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// FCM's own, and Google's for everything.
pub(super) const SCOPES: [&str; 2] =
    ["https://www.googleapis.com/auth/firebase.messaging", "https://www.googleapis.com/auth/cloud-platform"];
/// How far the sender's clock may be ahead, in seconds.
const LEEWAY: i64 = 60;
/// The longest life of an assertion, in seconds.
const MAX_ASSERTION: i64 = 3600;

/// What an access token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Sending messages by the FCM API.
    Send,
    /// Asking for a service account's token.
    Impersonate,
}

/// Access tokens issued, with their ends.
#[derive(Debug, Default)]
pub(super) struct AccessTokens {
    issued: Mutex<HashMap<String, (i64, Use)>>,
    round: AtomicU64,
}

impl AccessTokens {
    /// When this token ends, in milliseconds since 1970; nothing if it was not issued here for this, or was revoked.
    pub(super) fn ends_ms(&self, token: &str, usage: Use) -> Option<i64> {
        let issued = self.issued.lock().expect("no holder panics");
        issued.get(token).filter(|(_, known)| *known == usage).map(|(ends_ms, _)| *ends_ms)
    }

    /// Counts revocations: what was remembered under an earlier number is checked again.
    pub(super) fn round(&self) -> u64 {
        self.round.load(Ordering::Acquire)
    }

    /// Revokes all tokens.
    pub(super) fn revoke(&self) {
        self.issued.lock().expect("no holder panics").clear();
        self.round.fetch_add(1, Ordering::Release);
    }

    pub(super) fn issue(&self, life: Duration, usage: Use) -> String {
        let token = format!("ya29.sim-{:032x}", rand::random::<u128>());
        let ends_ms = clock::now_ms() + i64::try_from(life.as_millis()).unwrap_or(i64::MAX / 2);
        self.issued.lock().expect("no holder panics").insert(token.clone(), (ends_ms, usage));
        token
    }
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    scope: String,
    iat: i64,
    exp: i64,
}

/// The parameters of a form-encoded request.
pub(super) struct Form(HashMap<String, String>);

impl Form {
    /// Reads a request that may have these parameters.
    pub(super) fn read(parts: &Parts, body: &[u8], names: &[&str]) -> Result<Self, Reply> {
        if parts.method != Method::POST {
            return Err(Reply::html(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"));
        }
        let form = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !form.starts_with("application/x-www-form-urlencoded") {
            return Err(refusal("invalid_request", "The request must be form-encoded."));
        }
        let mut given = HashMap::new();
        for pair in std::str::from_utf8(body).unwrap_or_default().split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !names.contains(&name) {
                return Err(refusal("invalid_request", "Unknown parameter."));
            }
            given.extend(unescaped(value).map(|value| (name.to_owned(), value)));
        }
        Ok(Self(given))
    }

    /// The value of a form parameter; none if it was not sent.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Does a path give access tokens?
pub(super) fn is_endpoint(path: &str) -> bool {
    [PATH, federation::EXCHANGE_PATH].contains(&path) || federation::impersonated(path).is_some()
}

/// Judges a request to an endpoint; the acceptance carries a fresh access token.
pub(super) fn check(shared: &Shared, parts: &Parts, body: &[u8]) -> Result<Accepting, Reply> {
    match (parts.uri.path(), federation::impersonated(parts.uri.path())) {
        (_, Some(account)) => federation::impersonate(shared, account, parts, body),
        (federation::EXCHANGE_PATH, _) => federation::exchange(shared, parts, body),
        _ => grant(shared, parts, body),
    }
}

fn grant(shared: &Shared, parts: &Parts, body: &[u8]) -> Result<Accepting, Reply> {
    let form = Form::read(parts, body, &["grant_type", "assertion"])?;
    if form.get("grant_type") != Some(GRANT) {
        return Err(refusal("unsupported_grant_type", "Invalid grant_type."));
    }
    let assertion = form.get("assertion").ok_or_else(|| refusal("invalid_request", "Missing assertion."))?;
    check_assertion(shared, assertion)?;
    let life = shared.settings.fcm.token_life;
    let body = json!({
        "access_token": shared.access_tokens.issue(life, Use::Send),
        "expires_in": life.as_secs(),
        "token_type": "Bearer",
    });
    Ok(Accepting { reply: Reply::json(StatusCode::OK, "", &body), counts: false })
}

fn check_assertion(shared: &Shared, assertion: &str) -> Result<(), Reply> {
    let key = &shared.keys.oauth_public;
    let (_, claims) = jwt::verify::<Claims>(assertion, key, Algorithm::RS256, "RS256")
        .map_err(|_| refusal("invalid_grant", "Invalid JWT Signature."))?;
    if !shared.keyring.has_account(&claims.iss) {
        return Err(refusal("invalid_grant", "Invalid grant: account not found"));
    }
    // A client that comes by a proxy knows this machine by its other name.
    let other_name = shared.token_uri.replace("//localhost:", "//simulator.test:");
    if claims.aud != shared.token_uri && claims.aud != other_name {
        return Err(refusal("invalid_grant", "Invalid JWT: Failed audience check."));
    }
    let now = clock::now_seconds();
    let fresh = claims.iat <= now + LEEWAY && claims.exp > now && claims.exp - claims.iat <= MAX_ASSERTION;
    if !fresh || claims.exp <= claims.iat {
        let text = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. \
                    Check your iat and exp values in the JWT claim.";
        return Err(refusal("invalid_grant", text));
    }
    if !claims.scope.split(' ').any(|scope| SCOPES.contains(&scope)) {
        return Err(refusal("invalid_scope", "Invalid OAuth scope or ID token audience provided."));
    }
    Ok(())
}

/// Writes the request down and lets the script decide.
pub(super) fn plan(
    shared: &Shared,
    connection: u64,
    received: Received,
    verdict: Result<Accepting, Reply>,
) -> Plan {
    let concerning = Concerning {
        provider: Provider::Oauth,
        environment: None,
        connection,
        token: None,
        notification: None,
        keep_body: false,
    };
    shared.plan(&concerning, received, verdict)
}

/// An OAuth error (RFC 6749 5.2).
pub(super) fn refusal(error: &'static str, description: &str) -> Reply {
    Reply::json(StatusCode::BAD_REQUEST, error, &json!({ "error": error, "error_description": description }))
}

/// Form encoding undone: `+` and `%xx`.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(plain).ok()
}
