//! The client of an FCM lane: sends with one credential, through one project, over one pool of connections.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Uri, Version};
use tokio::time::Instant;

use super::bearer::{AccessToken, AccessTokens, TokenError};
use super::credential::{CredentialError, FcmCredential};
use super::provider::Fcm;
use super::request::{self, FcmMessage, Traits};
use super::response::classify;
use super::settings::FcmSettings;
use crate::domain::{Content, DeviceToken, LaneCause, MisconfigurationScope, NotificationId, Outcome};
use crate::provider::classification::{Classification, ConnectionFate};
use crate::provider::port::{Provider, ProviderClient};
use crate::provider::proxy::Proxy;
use crate::provider::resend::{exchange, unanswered};
use crate::provider::setup::{self, SetupError};
use crate::provider::transport::{self, Pool, PoolStats, Stream};
use crate::provider::{Attempt, Fingerprint, SenderMetrics};

/// FCM's limit of open streams per connection. FCM answers more with a GOAWAY (docs/providers.md#fcm-quotas).
pub(super) const STREAMS_MAX: usize = 100;
/// A message that FCM checks and delivers to no device.
const VALIDATED: &[u8] =
    br#"{"validate_only":true,"message":{"topic":"pushpost-doctor","data":{"pushpost":"doctor"}}}"#;
/// Idle connections are closed after this time, because FCM closes them after about three minutes
/// (docs/providers.md#connection-failures).
const IDLE_CLOSE: Duration = Duration::from_secs(150);

/// Connections to FCM, and the cache of access tokens.
pub struct FcmClient {
    pool: Pool<()>,
    bearers: AccessTokens,
    uri: Uri,
    channel: Option<String>,
    fingerprint: Fingerprint,
    subject_token: Option<Fingerprint>,
    metrics: OnceLock<Arc<SenderMetrics>>,
}

impl FcmClient {
    /// Checks the settings. Opens no connection yet. `connections` take new streams; draining connections come on top.
    /// `proxy` is used for the token endpoint too.
    ///
    /// # Errors
    /// The credential or the CA file can't be used.
    pub async fn new(
        settings: &FcmSettings,
        connections: usize,
        proxy: Option<Arc<Proxy>>,
    ) -> Result<Self, SetupError> {
        let unusable = |error| SetupError::Credential {
            setting: settings.credential.setting().to_owned(),
            source: Box::<CredentialError>::new(error),
        };
        let ca_file = settings.ca_file.as_ref();
        let credential = FcmCredential::new(&settings.credential, &settings.project_id, ca_file.is_some());
        let credential = credential.map_err(unusable)?;
        let (project_id, subject_token) = (credential.project_id.clone(), credential.subject_token);
        let endpoint = settings.endpoint.as_ref();
        let (origin, authority) = setup::origin(endpoint, "fcm.googleapis.com", ca_file, proxy.as_deref())?;
        let fingerprint = Fingerprint::of(&[
            &credential.fingerprint.0,
            // The prefix makes an empty channel differ from no channel.
            settings.channel.as_ref().map(|channel| format!("={channel}")).unwrap_or_default().as_bytes(),
            authority.as_str().as_bytes(),
            setup::ca_bytes(ca_file),
        ]);
        let fetch = credential.fetch(&origin.tls, proxy).await.map_err(unusable)?;
        let uri = Uri::builder()
            .scheme("https")
            .authority(authority)
            .path_and_query(format!("/v1/projects/{project_id}/messages:send"))
            .build()
            .map_err(|_| unusable(CredentialError::Project))?;
        // No pings while idle, because FCM has closed connections for them (docs/providers.md#connection-failures).
        let shared = setup::pool_settings(connections, STREAMS_MAX);
        let pool = Pool::new(origin, transport::Settings { idle_close: Some(IDLE_CLOSE), ..shared });
        let bearers = AccessTokens::new(fetch);
        let (channel, metrics) = (settings.channel.clone(), OnceLock::new());
        Ok(Self { pool, bearers, uri, channel, fingerprint, subject_token, metrics })
    }

    async fn attempt_once(
        &self,
        bearer: &AccessToken,
        body: &Bytes,
        traits: Traits,
        attempt: &Attempt<'_>,
    ) -> Result<Classification, Outcome> {
        let head = |stream: &Stream<()>| {
            if let Some(authority) = self.uri.authority() {
                // The token is in the body.
                attempt.note_request(stream.connection_number(), authority, self.uri.path());
            }
            if let Some(metrics) = self.metrics.get() {
                let now = Instant::now();
                metrics.note_token(now, bearer.age(now));
            }
            let mut request = Request::new(());
            *request.method_mut() = Method::POST;
            *request.version_mut() = Version::HTTP_2;
            *request.uri_mut() = self.uri.clone();
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(request::MEDIA_TYPE));
            request.headers_mut().insert(AUTHORIZATION, bearer.header.clone());
            request
        };
        let response = exchange(&self.pool, attempt.deadline, attempt.validity, head, body)
            .await
            .map_err(|error| unanswered(&error))?;
        attempt.note_status(response.status);
        let verdict = classify(response.status, &response.headers, &response.body, traits, attempt.now);
        if verdict.connection == ConnectionFate::Retire {
            response.connection.retire();
        }
        Ok(verdict)
    }

    /// Sends a body, and sends it again with another access token if FCM refuses the first one.
    async fn send_body(&self, body: &Bytes, traits: Traits, attempt: &Attempt<'_>) -> Outcome {
        let mut renewed = false;
        loop {
            let bearer = match self.bearers.bearer(attempt.now, attempt.deadline).await {
                Ok(bearer) => bearer,
                Err(error) => return without_token(error),
            };
            let verdict = match self.attempt_once(&bearer, body, traits, attempt).await {
                Ok(verdict) => verdict,
                Err(outcome) => return outcome,
            };
            if verdict.renew && !renewed {
                self.bearers.discard_refused(&bearer);
                renewed = true;
            } else {
                return verdict.outcome;
            }
        }
    }
}

impl ProviderClient for FcmClient {
    type Message = FcmMessage;

    fn provider(&self) -> &'static dyn Provider {
        &Fcm
    }

    fn is_overridden(message: &FcmMessage) -> bool {
        message.traits().overridden
    }

    fn prepare(&self, id: NotificationId, content: &Content) -> FcmMessage {
        request::prepare(id, content, self.channel.as_deref())
    }

    async fn send(&self, prepared: &FcmMessage, attempt: &Attempt<'_>) -> Outcome {
        let body = prepared.body(attempt.token.expose(), attempt.expiry());
        self.send_body(&body, prepared.traits(), attempt).await
    }

    async fn reach(&self, now: DateTime<Utc>, deadline: Instant) -> Result<(), Outcome> {
        self.bearers.bearer(now, deadline).await.map_err(without_token)?;
        self.pool.reserve(deadline).await.map(drop).map_err(|error| unanswered(&error))
    }

    /// Sends a message to a topic that no device has, which FCM only validates.
    async fn try_credential(&self, now: DateTime<Utc>, deadline: Instant) -> Outcome {
        let token = DeviceToken::stored(String::new());
        let attempt = Attempt::of_credential(&token, now, deadline);
        self.send_body(&Bytes::from_static(VALIDATED), Traits::default(), &attempt).await
    }

    fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    fn local_fingerprint(&self) -> Option<Fingerprint> {
        self.subject_token
    }

    fn origins(&self) -> Vec<Authority> {
        self.uri.authority().into_iter().cloned().collect()
    }

    fn stats(&self) -> PoolStats {
        self.pool.stats()
    }

    fn count_in(&self, metrics: &Arc<SenderMetrics>) {
        self.pool.count_in(&metrics.lane);
        let _ = self.metrics.set(Arc::clone(metrics));
    }

    async fn shutdown(&self) {
        self.pool.shutdown().await;
        self.bearers.shutdown().await;
    }
}

fn without_token(error: TokenError) -> Outcome {
    match error {
        TokenError::Rejected(reason) => {
            Outcome::Misconfigured { reason, about: MisconfigurationScope::Credential }
        }
        TokenError::Unavailable(reason) => {
            Outcome::RetryLane { reason, cause: LaneCause::Outage, after: None }
        }
    }
}

#[cfg(test)]
mod tests;
