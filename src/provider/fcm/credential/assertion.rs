//! Exchanges a signed assertion of a service account for an access token (RFC 7523, docs/providers.md#google-access-tokens).
//!
//! yup-oauth2 states the time of this machine's clock in the assertion, and Google refuses a wrong time as if the
//! credential were bad. Therefore the assertion is signed here, with the time of Postgres's clock.

use chrono::{DateTime, Utc};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{Request, Uri};
use http_body_util::BodyExt as _;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use std::time::Duration;

use super::refusal::{Step, of_error_code, of_status};
use super::service_account::ServiceAccountKey;
use super::{Client, CredentialError, SCOPES, UNSTATED_LIFE};
use crate::domain::pem::{self, PemFault};
use crate::provider::fcm::bearer::{Fetched, TokenError};

/// The grant type of RFC 7523 2.1, form-encoded.
const GRANT_TYPE: &str = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
/// Google takes assertions that are valid for at most an hour. The margin is for the way there.
const ASSERTION_SECONDS: i64 = 3_595;

/// Fetches access tokens for a service account.
pub(super) struct AssertionGrant {
    client: Client,
    key: EncodingKey,
    email: String,
    token_uri: Uri,
    /// The URI as the file has it, because Google compares it as a text.
    audience: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: String,
    aud: &'a str,
    iat: i64,
    exp: i64,
}

/// An answer of the token endpoint: a token (RFC 6749 5.1) or an error code (5.2).
#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    /// The life of the token, in seconds. Google states about 3,599.
    expires_in: Option<u64>,
    error: Option<String>,
}

impl AssertionGrant {
    /// Reads the private key and signs once as a test.
    pub(super) fn new(account: ServiceAccountKey, client: Client) -> Result<Self, CredentialError> {
        pem::check(&account.private_key, "PRIVATE KEY").map_err(CredentialError::Key)?;
        // The error of jsonwebtoken says no more than this, and might quote the key.
        let other = |_| CredentialError::Key(PemFault::Content("an RSA key"));
        let key = EncodingKey::from_rsa_pem(account.private_key.as_bytes()).map_err(other)?;
        let token_uri = account.token_uri.parse().map_err(|_| CredentialError::Field("token_uri"))?;
        let (email, audience) = (account.client_email, account.token_uri);
        let grant = Self { client, key, email, token_uri, audience };
        grant.sign(DateTime::UNIX_EPOCH).map_err(other)?;
        Ok(grant)
    }

    /// Fetches an access token. `now` is Postgres's time.
    ///
    /// # Errors
    /// The credential was refused, or the token endpoint gave no answer of use.
    pub(super) async fn fetch(&self, now: DateTime<Utc>) -> Result<Fetched, TokenError> {
        let step = Step::TokenEndpoint;
        let assertion = self.sign(now).map_err(|_| step.rejected("the key does not sign"))?;
        let request = Request::post(&self.token_uri)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            // A JWT needs no encoding: it has letters, digits, `-`, `_` and `.` only.
            .body(format!("grant_type={GRANT_TYPE}&assertion={assertion}"))
            .map_err(|_| step.rejected("token_uri"))?;
        let failed = || step.unavailable("connection failed");
        let response = self.client.request(request).await.map_err(|_| failed())?;
        let status = response.status();
        // The connection limits the length.
        let body = response.into_body().collect().await.map_err(|_| failed())?.to_bytes();
        match serde_json::from_slice(&body) {
            Ok(Answer { error: Some(word), .. }) => Err(of_error_code(&word.into())),
            _ if !status.is_success() => Err(of_status(step, status)),
            Ok(Answer { access_token: Some(token), expires_in, .. }) => {
                Ok(Fetched { token, life: expires_in.map_or(UNSTATED_LIFE, Duration::from_secs) })
            }
            Ok(Answer { access_token: None, .. }) => Err(step.unavailable("no token")),
            Err(_) => Err(step.unavailable("not an OAuth answer")),
        }
    }

    fn sign(&self, now: DateTime<Utc>) -> Result<String, jsonwebtoken::errors::Error> {
        let iat = now.timestamp();
        let claims = Claims {
            iss: &self.email,
            scope: SCOPES.join(" "),
            aud: &self.audience,
            iat,
            exp: iat + ASSERTION_SECONDS,
        };
        jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &self.key)
    }
}
