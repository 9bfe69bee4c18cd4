//! Google for senders without a key (docs/providers.md#google-access-tokens): the exchange of a subject token at STS
//! (RFC 8693), and `generateAccessToken`, which gives a service account's access token for an exchanged one.

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::clock;
use super::faults;
use super::oauth::{Form, SCOPES, Use, refusal};
use super::reply::Reply;
use super::session::{Accepting, Shared};

/// Path of STS on the FCM port.
pub(super) const EXCHANGE_PATH: &str = "/v1/token";
/// Of the one pool and provider that there is.
pub(super) const AUDIENCE: &str =
    "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/issuer";
pub(super) const SUBJECT_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:jwt";
const ACCESS_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const IMPERSONATION: (&str, &str) = ("/v1/projects/-/serviceAccounts/", ":generateAccessToken");
/// Longest life of a service account's token, in seconds.
const LIFETIME_MAX: u64 = 3600;

/// The service account that a path names.
pub(super) fn impersonated(path: &str) -> Option<&str> {
    path.strip_prefix(IMPERSONATION.0)?.strip_suffix(IMPERSONATION.1)
}

/// The path that names a service account.
pub(super) fn impersonation_path(account: &str) -> String {
    format!("{}{account}{}", IMPERSONATION.0, IMPERSONATION.1)
}

/// Judges an exchange. What is issued for FCM's own scope may send; what is issued for all of Google may impersonate.
pub(super) fn exchange(shared: &Shared, parts: &Parts, body: &[u8]) -> Result<Accepting, Reply> {
    let names =
        ["audience", "grant_type", "requested_token_type", "subject_token_type", "subject_token", "scope"];
    let form = Form::read(parts, body, &names)?;
    if form.get("grant_type") != Some(GRANT) {
        return Err(refusal("unsupported_grant_type", "Invalid grant_type."));
    }
    let types = (form.get("requested_token_type"), form.get("subject_token_type"));
    if types != (Some(ACCESS_TOKEN_TYPE), Some(SUBJECT_TOKEN_TYPE)) {
        return Err(refusal("invalid_request", "Invalid token type."));
    }
    if form.get("audience") != Some(AUDIENCE) {
        return Err(refusal(
            "invalid_target",
            "The target service indicated by the audience parameter is invalid.",
        ));
    }
    if !form.get("subject_token").is_some_and(|token| shared.keyring.has_subject_token(token)) {
        return Err(refusal("invalid_grant", "The given credential is rejected by the attribute condition."));
    }
    let scope = form.get("scope").and_then(|scope| SCOPES.iter().position(|known| *known == scope));
    let usage = match scope {
        Some(0) => Use::Send,
        Some(_) => Use::Impersonate,
        None => return Err(refusal("invalid_scope", "Invalid OAuth scope.")),
    };
    let life = shared.settings.fcm.token_life;
    let body = json!({
        "access_token": shared.access_tokens.issue(life, usage),
        "issued_token_type": ACCESS_TOKEN_TYPE,
        "token_type": "Bearer",
        "expires_in": life.as_secs(),
    });
    Ok(Accepting { reply: Reply::json(StatusCode::OK, "", &body), counts: false })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    scope: Vec<String>,
    lifetime: String,
}

/// Judges a request for a service account's token.
pub(super) fn impersonate(
    shared: &Shared,
    account: &str,
    parts: &Parts,
    body: &[u8],
) -> Result<Accepting, Reply> {
    if parts.method != Method::POST {
        return Err(Reply::html(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED"));
    }
    let shown = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let shown = shown.and_then(|text| text.strip_prefix("Bearer ")).unwrap_or_default();
    let ends_ms = shared.access_tokens.ends_ms(shown, Use::Impersonate);
    if ends_ms.is_none_or(|ends_ms| ends_ms <= clock::now_ms()) {
        return Err(faults::plain(401, "Request had invalid authentication credentials."));
    }
    let wanted: Wanted =
        serde_json::from_slice(body).map_err(|_| faults::plain(400, "Invalid JSON payload received."))?;
    let lifetime = wanted.lifetime.strip_suffix('s').and_then(|seconds| seconds.parse().ok());
    let is_right = lifetime.is_some_and(|seconds| (1..=LIFETIME_MAX).contains(&seconds))
        && wanted.scope.iter().any(|scope| SCOPES.contains(&scope.as_str()));
    if !is_right {
        return Err(faults::plain(400, "Request contains an invalid argument."));
    }
    if !shared.keyring.has_account(account) {
        let text =
            "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).";
        return Err(faults::plain(403, text));
    }
    let token = shared.access_tokens.issue(shared.settings.fcm.token_life, Use::Send);
    let ends_ms = shared.access_tokens.ends_ms(&token, Use::Send).unwrap_or_default();
    let body = json!({ "accessToken": token, "expireTime": clock::rfc3339(ends_ms) });
    Ok(Accepting { reply: Reply::json(StatusCode::OK, "", &body), counts: false })
}
