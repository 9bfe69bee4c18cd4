//! A Google service account, and access tokens for it by `yup-oauth2` (docs/providers.md 3.2).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::rt::TokioExecutor;
use yup_oauth2::authenticator::Authenticator;
use yup_oauth2::error::{AuthErrorCode, Error};
use yup_oauth2::{CustomHyperClientBuilder, ServiceAccountAuthenticator, ServiceAccountKey};

use super::bearer::{Fetch, Fetched, TokenError};
use crate::domain::Reason;
use crate::domain::pem::{self, PemFault};
use crate::provider::Fingerprint;
use crate::provider::proxy::{Connector, Proxy};

const SCOPES: [&str; 1] = ["https://www.googleapis.com/auth/firebase.messaging"];

/// Life of a token whose answer doesn't say: short enough to be true.
const UNSTATED_LIFE: Duration = Duration::from_secs(600);

/// A service account that can't be used. Never quotes the file.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Not a service account's JSON.
    #[error("not a service account file: line {line}, column {column}")]
    File {
        /// Where reading it failed.
        line: usize,
        /// Where reading it failed.
        column: usize,
    },
    /// A field that is needed.
    #[error("the service account file has no usable {0}")]
    Field(&'static str),
    /// The private key, a PKCS#8 PEM with an RSA key.
    #[error("the private_key of the service account can't be used: {0}")]
    Key(PemFault),
}

/// What a service account file says.
pub(super) struct Account {
    /// The Firebase project.
    pub(super) project_id: String,
    /// Names the credential.
    pub(super) fingerprint: Fingerprint,
    key: ServiceAccountKey,
}

impl Account {
    /// Reads the file's bytes.
    pub(super) fn parse(json: &[u8]) -> Result<Self, AccountError> {
        let mut key: ServiceAccountKey = serde_json::from_slice(json)
            .map_err(|error| AccountError::File { line: error.line(), column: error.column() })?;
        let is_id = |id: &str| {
            !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
        };
        let project_id =
            key.project_id.clone().filter(|id| is_id(id)).ok_or(AccountError::Field("project_id"))?;
        let uri: Option<Uri> = key.token_uri.parse().ok();
        // Google's is https; an emulator on the same machine may do without.
        if !uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("https" | "http")) && uri.host().is_some())
        {
            return Err(AccountError::Field("token_uri"));
        }
        key.private_key = pem::with_line_ends(&key.private_key).into_owned();
        let parts = [&key.client_email, &key.private_key, &project_id, &key.token_uri];
        let fingerprint = Fingerprint::of(&parts.map(String::as_bytes));
        Ok(Self { project_id, fingerprint, key })
    }

    /// A source of access tokens that trusts what `tls` trusts.
    pub(super) async fn fetch(
        self,
        tls: &rustls::ClientConfig,
        proxy: Option<Arc<Proxy>>,
    ) -> Result<Fetch, AccountError> {
        let mut tls = tls.clone();
        // The connector wants to name the protocol itself.
        tls.alpn_protocols.clear();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Connector::new(proxy));
        // One request an hour: a connection kept for it would be dead by then.
        let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        let client = CustomHyperClientBuilder::from(client);
        let fault = pem::check(&self.key.private_key, "PRIVATE KEY").err();
        // It fails only on the private key; its errors say no more than that.
        let authenticator = ServiceAccountAuthenticator::with_client(self.key, client)
            .build()
            .await
            .map_err(|_| AccountError::Key(fault.unwrap_or(PemFault::Content("an RSA key"))))?;
        let authenticator = Arc::new(authenticator);
        Ok(Box::new(move || {
            let authenticator = authenticator.clone();
            Box::pin(async move { fetch(&authenticator).await })
        }))
    }
}

async fn fetch(authenticator: &Authenticator<HttpsConnector<Connector>>) -> Result<Fetched, TokenError> {
    let unavailable = |text: &str| TokenError::Unavailable(Reason::new(text));
    let token = authenticator.force_refreshed_token(&SCOPES).await.map_err(|error| of_oauth(&error))?;
    let life = token.expiration_time().map_or(UNSTATED_LIFE, |end| left_until(end.into()));
    let token = token.token().ok_or_else(|| unavailable("token endpoint: no access_token"))?.to_owned();
    Ok(Fetched { token, life })
}

#[expect(
    clippy::disallowed_methods,
    reason = "yup-oauth2 has made a moment of expires_in by this very clock; taken back to a duration at once"
)]
fn left_until(end: SystemTime) -> Duration {
    end.duration_since(SystemTime::now()).unwrap_or_default()
}

/// The words of RFC 6749 5.2 concern the credential; anything else may pass. Descriptions are left out: they quote.
fn of_oauth(error: &Error) -> TokenError {
    let unavailable = |text: &str| TokenError::Unavailable(Reason::new(text));
    match error {
        Error::AuthError(said) => match said.error {
            AuthErrorCode::Other(_) | AuthErrorCode::ExpiredToken => {
                TokenError::Unavailable(Reason::of_provider(said.error.as_str()))
            }
            _ => TokenError::Rejected(Reason::of_provider(said.error.as_str())),
        },
        Error::HttpError(_) | Error::HttpClientError(_) => unavailable("token endpoint: connection failed"),
        Error::JSONError(_) => unavailable("token endpoint: not an OAuth answer"),
        _ => unavailable("token endpoint: no token"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use yup_oauth2::error::AuthError;

    use super::*;

    fn file(change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut json = json!({
            "type": "service_account", "project_id": "shop-1", "private_key": "KEY",
            "client_email": "push@shop-1.iam.gserviceaccount.com", "token_uri": "https://oauth2.googleapis.com/token"
        });
        change(&mut json);
        json.to_string().into_bytes()
    }

    fn print(change: impl FnOnce(&mut Value)) -> Fingerprint {
        Account::parse(&file(change)).expect("a usable file").fingerprint
    }

    #[test]
    fn the_fingerprint_hangs_on_what_makes_the_credential() {
        let base = print(|_| {});
        assert_eq!(base, print(|json| json["type"] = "other".into()));
        for name in ["project_id", "private_key", "client_email", "token_uri"] {
            let changed =
                print(|json| json[name] = format!("{}x", json[name].as_str().expect("text")).into());
            assert_ne!(base, changed, "{name}");
        }
    }

    #[test]
    fn a_private_key_whose_line_ends_are_written_out_is_the_same_key() {
        let with = |key: &'static str| print(move |json| json["private_key"] = key.into());
        assert_eq!(with("-----BEGIN PRIVATE KEY-----\nKEY\n"), with(r"-----BEGIN PRIVATE KEY-----\nKEY\n"));
    }

    #[test]
    fn a_file_that_lacks_something_is_refused_by_name_and_never_quoted() {
        let refused =
            |change: fn(&mut Value)| Account::parse(&file(change)).err().expect("refused").to_string();
        assert!(refused(|json| json["project_id"] = Value::Null).ends_with("project_id"));
        assert!(refused(|json| json["project_id"] = "a/b".into()).ends_with("project_id"));
        assert!(refused(|json| json["token_uri"] = "not a uri".into()).ends_with("token_uri"));
        assert!(refused(|json| json["token_uri"] = "file:///x".into()).ends_with("token_uri"));
        let quoted = Account::parse(b"\"secret\"").err().expect("refused").to_string();
        assert!(!quoted.contains("secret"), "{quoted}");
    }

    #[tokio::test]
    async fn a_private_key_that_is_none_is_found_out_at_once() {
        let tls = crate::provider::transport::tls(None).expect("roots");
        let account = Account::parse(&file(|_| {})).expect("a usable file");
        let error = account.fetch(&tls, None).await.err().expect("refused");
        assert!(matches!(error, AccountError::Key(PemFault::Missing(_))), "{error}");
    }

    #[test]
    fn the_words_of_oauth_concern_the_credential_and_all_else_may_pass() {
        let said = |word: &str| {
            of_oauth(&Error::AuthError(AuthError {
                error: word.into(),
                error_description: None,
                error_uri: None,
            }))
        };
        for word in
            ["invalid_grant", "invalid_client", "unauthorized_client", "invalid_scope", "access_denied"]
        {
            assert_eq!(said(word), TokenError::Rejected(Reason::new(word)));
        }
        for word in ["internal_failure", "temporarily_unavailable", "server_error"] {
            assert_eq!(said(word), TokenError::Unavailable(Reason::new(word)));
        }
        let html = serde_json::from_str::<Value>("<html>").expect_err("not JSON");
        assert!(matches!(of_oauth(&Error::JSONError(html)), TokenError::Unavailable(_)));
        assert!(matches!(of_oauth(&Error::MissingAccessToken), TokenError::Unavailable(_)));
    }
}
