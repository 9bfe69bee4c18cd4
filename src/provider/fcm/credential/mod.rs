//! Fetches access tokens of Google (docs/providers.md#google-access-tokens): for a service account, or with `yup-oauth2`
//! for a workload identity or the account of this machine at the metadata server of Google Cloud.

mod assertion;
mod external_account;
mod refusal;
mod service_account;
mod statuses;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::rt::TokioExecutor;
use yup_oauth2::authenticator::{ApplicationDefaultCredentialsTypes, Authenticator};
use yup_oauth2::{
    ApplicationDefaultCredentialsAuthenticator, ApplicationDefaultCredentialsFlowOpts,
    CustomHyperClientBuilder, ExternalAccountAuthenticator,
};

use super::bearer::{Fetch, Fetched, TokenError};
use super::credential_settings::GoogleCredential;
use crate::domain::Reason;
use crate::domain::pem::PemFault;
use crate::provider::Fingerprint;
use crate::provider::proxy::{Connector, Proxy};
use assertion::AssertionGrant;
pub(super) use external_account::ExternalAccount;
pub use external_account::ExternalAccountError;
use refusal::{Step, token_error};
use service_account::ServiceAccount;
use statuses::{StatusConnector, Statuses};

const SCOPES: [&str; 1] = ["https://www.googleapis.com/auth/firebase.messaging"];

/// The assumed life of an access token if the answer does not state one. Google's tokens live for an hour, so the
/// token is replaced long before its end.
const UNSTATED_LIFE: Duration = Duration::from_secs(600);

/// Google's metadata server, which issues access tokens at `METADATA_PATH`.
const METADATA_HOST: &str = "http://metadata.google.internal";
const METADATA_PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";

/// A credential that can't be used. The text never quotes a file.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The file is not the JSON of a service account.
    #[error("not a service account file: line {line}, column {column}")]
    File {
        /// The line where parsing failed, from 1.
        line: usize,
        /// The column where parsing failed, from 1.
        column: usize,
    },
    /// A required field is missing or invalid.
    #[error("the service account file has no usable {0}")]
    Field(&'static str),
    /// The private key is not an RSA key in PKCS#8 PEM.
    #[error("the private_key of the service account can't be used: {0}")]
    Key(PemFault),
    /// The file of the workload identity can't be used.
    #[error(transparent)]
    ExternalAccount(#[from] ExternalAccountError),
    /// `project_id` is missing, or has characters that no Google project id has.
    #[error("project_id is not the id of a project")]
    Project,
    /// `metadata_endpoint` has another scheme than http, or a path.
    #[error("metadata_endpoint: not http://host or http://host:port")]
    MetadataEndpoint,
    /// An environment variable names a credential other than the metadata server's.
    #[error(
        "credentials = \"default\" asks the metadata server, but the variable GOOGLE_APPLICATION_CREDENTIALS names another \
         credential: unset the variable, or configure its file as service_account_file"
    )]
    OtherCredential,
}

/// A credential, checked.
pub(super) struct FcmCredential {
    /// The id of the Firebase project.
    pub(super) project_id: String,
    /// Identifies the credential. Equal on all nodes with the same configuration.
    pub(super) fingerprint: Fingerprint,
    /// Identifies the subject token, which may differ between nodes.
    pub(super) subject_token: Option<Fingerprint>,
    kind: Kind,
}

enum Kind {
    ServiceAccount(ServiceAccount),
    ExternalAccount(ExternalAccount),
    /// The URL that issues access tokens.
    MetadataServer(String),
}

/// Connections with and without TLS that record the status of their answer.
type Connections = StatusConnector<HttpsConnector<Connector>>;

/// Sends the requests for access tokens.
type Client = hyper_util::client::legacy::Client<Connections, String>;

impl FcmCredential {
    /// Checks the credential. With `any_host`, tokens may be sent to hosts that are not Google's. The file of a service
    /// account names its project itself.
    pub(super) fn new(
        credential: &GoogleCredential,
        project_id: &str,
        any_host: bool,
    ) -> Result<Self, CredentialError> {
        match credential {
            GoogleCredential::ServiceAccount(account) => {
                let account = ServiceAccount::parse(account.expose())?;
                let (project_id, fingerprint) = (account.project_id.clone(), account.fingerprint);
                Ok(Self { project_id, fingerprint, subject_token: None, kind: Kind::ServiceAccount(account) })
            }
            GoogleCredential::ExternalAccount { account, subject_token } => {
                let account = ExternalAccount::parse(account.expose(), any_host)?;
                let fingerprint = Fingerprint::of(&[&account.fingerprint().0, checked(project_id)?]);
                let (project_id, subject_token) = (project_id.to_owned(), *subject_token);
                Ok(Self { project_id, fingerprint, subject_token, kind: Kind::ExternalAccount(account) })
            }
            GoogleCredential::MetadataServer(endpoint) => {
                let host = endpoint.as_deref().unwrap_or(METADATA_HOST).trim_end_matches('/');
                let url = format!("{host}{METADATA_PATH}");
                let uri: Option<Uri> = url.parse().ok();
                if !uri.is_some_and(|uri| uri.scheme_str() == Some("http") && uri.path() == METADATA_PATH) {
                    return Err(CredentialError::MetadataEndpoint);
                }
                let fingerprint = Fingerprint::of(&[url.as_bytes(), checked(project_id)?]);
                let project_id = project_id.to_owned();
                Ok(Self { project_id, fingerprint, subject_token: None, kind: Kind::MetadataServer(url) })
            }
        }
    }

    /// Makes the function that fetches access tokens. Its connections trust the CAs of `tls`.
    pub(super) async fn fetch(
        self,
        tls: &rustls::ClientConfig,
        proxy: Option<Arc<Proxy>>,
    ) -> Result<Fetch, CredentialError> {
        let statuses = Statuses::default();
        let steps = self.steps();
        let subject_token_file = match &self.kind {
            Kind::ExternalAccount(account) => account.subject_token_file().map(Path::to_owned),
            Kind::ServiceAccount(_) | Kind::MetadataServer(_) => None,
        };
        // The metadata server belongs to this machine, so a proxy can't reach it.
        let proxy = proxy.filter(|_| !matches!(self.kind, Kind::MetadataServer(_)));
        let client = client(tls, proxy, statuses.clone());
        let authenticator = match self.kind {
            Kind::ServiceAccount(account) => {
                let grant = Arc::new(AssertionGrant::new(account.key, client)?);
                return Ok(Box::new(move |now| {
                    let grant = Arc::clone(&grant);
                    Box::pin(async move { grant.fetch(now).await })
                }));
            }
            Kind::ExternalAccount(account) => {
                let client = CustomHyperClientBuilder::from(client);
                let builder = ExternalAccountAuthenticator::with_client(account.into_secret(), client);
                builder.build().await.expect("building does no I/O")
            }
            Kind::MetadataServer(url) => metadata_authenticator(url, client).await?,
        };
        let shared = Arc::new((authenticator, statuses, steps, subject_token_file));
        // No time is stated in these requests, so no clock matters.
        Ok(Box::new(move |_| {
            let shared = shared.clone();
            Box::pin(async move {
                let (authenticator, statuses, steps, subject_token_file) = &*shared;
                if let Some(file) = subject_token_file {
                    refusal::check_subject_token(file).await?;
                }
                fetch(authenticator, statuses, steps).await
            })
        }))
    }

    /// The requests for one access token, in order.
    fn steps(&self) -> Vec<Step> {
        match &self.kind {
            Kind::ServiceAccount(_) => vec![Step::TokenEndpoint],
            Kind::MetadataServer(_) => vec![Step::MetadataServer],
            Kind::ExternalAccount(account) => {
                let source = account.subject_token_file().is_none().then_some(Step::SubjectToken);
                let impersonation = account.impersonates().then_some(Step::Impersonation);
                source.into_iter().chain([Step::TokenEndpoint]).chain(impersonation).collect()
            }
        }
    }
}

async fn metadata_authenticator(
    url: String,
    client: Client,
) -> Result<Authenticator<Connections>, CredentialError> {
    let options = ApplicationDefaultCredentialsFlowOpts { metadata_url: Some(url) };
    let client = CustomHyperClientBuilder::from(client);
    match ApplicationDefaultCredentialsAuthenticator::with_client(options, client).await {
        ApplicationDefaultCredentialsTypes::InstanceMetadata(builder) => {
            Ok(builder.build().await.expect("building does no I/O"))
        }
        ApplicationDefaultCredentialsTypes::ServiceAccount(_) => Err(CredentialError::OtherCredential),
    }
}

fn client(tls: &rustls::ClientConfig, proxy: Option<Arc<Proxy>>, statuses: Statuses) -> Client {
    let mut tls = tls.clone();
    // The connector sets the ALPN protocols itself and requires an empty list.
    tls.alpn_protocols.clear();
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(Connector::new(proxy));
    // No idle connections are kept: there is about one request per hour, and each connection records one status only.
    hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .pool_max_idle_per_host(0)
        .build(StatusConnector::new(connector, statuses))
}

async fn fetch(
    authenticator: &Authenticator<Connections>,
    statuses: &Statuses,
    steps: &[Step],
) -> Result<Fetched, TokenError> {
    statuses.begin();
    let token = authenticator.force_refreshed_token(&SCOPES).await;
    let token = token.map_err(|error| token_error(&error, steps, &statuses.list()))?;
    let life = token.expiration_time().map_or(UNSTATED_LIFE, |end| left_until(end.into()));
    let no_token = || TokenError::Unavailable(Reason::new("token endpoint: no access_token"));
    let token = token.token().ok_or_else(no_token)?.to_owned();
    Ok(Fetched { token, life })
}

#[expect(
    clippy::disallowed_methods,
    reason = "yup-oauth2 has made a moment of expires_in by this very clock; taken back to a duration at once"
)]
fn left_until(end: SystemTime) -> Duration {
    end.duration_since(SystemTime::now()).unwrap_or_default()
}

fn checked(project_id: &str) -> Result<&[u8], CredentialError> {
    is_project_id(project_id).then_some(project_id.as_bytes()).ok_or(CredentialError::Project)
}

fn is_project_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
}
