//! The client of an APNs lane: sends in one environment, with one key, over one pool of connections.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use http::uri::Authority;
use http::{HeaderValue, StatusCode};
use tokio::time::Instant;

use super::SANDBOX;
use super::credential::{ApnsCredential, ConnectionToken, KeyError, Moment, ProviderToken};
use super::provider::Apns;
use super::request::{self, ApnsMessage, TopicOrigin};
use super::response::{classify, goaway_about_credential};
use super::settings::ApnsSettings;
use crate::domain::{Content, DeviceToken, Environment, MinDelay, NotificationId, Outcome};
use crate::provider::classification::{Classification, ConnectionFate};
use crate::provider::port::{Provider, ProviderClient};
use crate::provider::proxy::Proxy;
use crate::provider::resend::{exchange, unanswered};
use crate::provider::setup::{self, SetupError};
use crate::provider::transport::{
    self, PingSettings, Pool, PoolStats, Response, Sent, Stream, TransportError, TransportErrorKind,
};
use crate::provider::{Attempt, Fingerprint, SenderMetrics};

/// A text that no device has as its token, because tokens are whole bytes in hexadecimal digits.
const NO_TOKEN: &str = "000000000000000";
/// Most streams per connection. APNs may allow fewer.
const STREAMS: usize = 1000;
/// Idle connections are pinged too, because an idle connection can die unnoticed
/// (docs/providers.md#connection-failures).
const PING: PingSettings =
    PingSettings { while_idle: Some(Duration::from_secs(45)), ..setup::PING_WHILE_WAITING };

/// Connections to APNs, and the key that signs their provider tokens.
pub struct ApnsClient {
    pool: Pool<ConnectionToken>,
    credential: ApnsCredential,
    authority: Authority,
    topic: String,
    fingerprint: Fingerprint,
    metrics: OnceLock<Arc<SenderMetrics>>,
}

impl ApnsClient {
    /// Checks the settings. Opens no connection yet. `connections` take new streams; draining connections come on top.
    ///
    /// # Errors
    /// The key, the topic or the CA file can't be used.
    pub fn new(
        settings: &ApnsSettings,
        environment: Environment,
        connections: usize,
        proxy: Option<&Proxy>,
    ) -> Result<Self, SetupError> {
        let credential = credential(settings)?;
        if settings.topic.is_empty() || HeaderValue::from_str(&settings.topic).is_err() {
            return Err(SetupError::Setting("topic: not a bundle id".to_owned()));
        }
        let host = match environment == SANDBOX {
            true => "api.sandbox.push.apple.com",
            false => "api.push.apple.com",
        };
        let ca_file = settings.ca_file.as_ref();
        let (origin, authority) = setup::origin(settings.endpoint_of(environment), host, ca_file, proxy)?;
        let fingerprint = Fingerprint::of(&[
            &credential.fingerprint().0,
            settings.topic.as_bytes(),
            authority.as_str().as_bytes(),
            setup::ca_bytes(ca_file),
        ]);
        let pool = Pool::new(
            origin,
            transport::Settings {
                prove_first: true,
                ping: Some(PING),
                ..setup::pool_settings(connections, STREAMS)
            },
        );
        let topic = settings.topic.clone();
        Ok(Self { pool, credential, authority, topic, fingerprint, metrics: OnceLock::new() })
    }

    async fn attempt_once(
        &self,
        prepared: &ApnsMessage,
        attempt: &Attempt<'_>,
    ) -> Result<(Classification, Arc<ProviderToken>), Outcome> {
        let mut used = None;
        let head = |stream: &Stream<ConnectionToken>| {
            attempt.note_request(stream.connection_number(), &self.authority, "/3/device/REDACTED");
            let moment = moment(attempt);
            let bearer = self.credential.bearer(stream.state(), moment);
            if let Some(metrics) = self.metrics.get() {
                metrics.note_token(moment.at, bearer.age(moment));
            }
            let head = prepared.head(&self.authority, attempt, bearer.header.clone());
            used = Some(bearer);
            head
        };
        let response = exchange(&self.pool, attempt.deadline, attempt.validity, head, prepared.body()).await;
        let response = response.map_err(|error| without_answer(&error))?;
        attempt.note_status(response.status);
        let verdict =
            classify(response.status, &response.headers, &response.body, prepared.topic(), attempt.now);
        judge_connection(&response, &verdict);
        Ok((verdict, used.expect("an answer needs a request, and that a head")))
    }
}

impl ProviderClient for ApnsClient {
    type Message = ApnsMessage;

    fn provider(&self) -> &'static dyn Provider {
        &Apns
    }

    fn prepare(&self, id: NotificationId, content: &Content) -> ApnsMessage {
        request::prepare(id, content, &self.topic)
    }

    fn is_overridden(message: &ApnsMessage) -> bool {
        message.topic() != TopicOrigin::Configured
    }

    async fn send(&self, prepared: &ApnsMessage, attempt: &Attempt<'_>) -> Outcome {
        let (verdict, bearer) = match self.attempt_once(prepared, attempt).await {
            Ok(answered) => answered,
            Err(outcome) => return outcome,
        };
        let renewed = verdict.renew && self.credential.replace_expired(&bearer, moment(attempt));
        // The failure concerns the retired connection only, so the device is tried at once on another connection.
        let on_another_connection = verdict.connection == ConnectionFate::Retire
            && matches!(verdict.outcome, Outcome::RetryTarget { min_delay: MinDelay::None, .. });
        if !renewed && !on_another_connection {
            return verdict.outcome;
        }
        match Box::pin(self.attempt_once(prepared, attempt)).await {
            Ok((verdict, _)) => verdict.outcome,
            Err(outcome) => outcome,
        }
    }

    async fn reach(&self, _now: DateTime<Utc>, deadline: Instant) -> Result<(), Outcome> {
        self.pool.reserve(deadline).await.map(drop).map_err(|error| without_answer(&error))
    }

    /// Sends to a token that is too short to be one: APNs judges the provider token before it.
    async fn try_credential(&self, now: DateTime<Utc>, deadline: Instant) -> Outcome {
        let content = Content { silent: true, ..Content::default() };
        let message = self.prepare(NotificationId::new(now), &content);
        let token = DeviceToken::stored(NO_TOKEN.to_owned());
        let attempt = Attempt::of_credential(&token, now, deadline);
        self.send(&message, &attempt).await
    }

    fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    fn origins(&self) -> Vec<Authority> {
        vec![self.authority.clone()]
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
    }
}

fn credential(settings: &ApnsSettings) -> Result<ApnsCredential, SetupError> {
    let ApnsSettings { key, key_id, team_id, .. } = settings;
    ApnsCredential::new(key.expose().as_bytes(), key_id, team_id).map_err(|error| match error {
        KeyError::Key(_) => {
            SetupError::Credential { setting: key.source().to_owned(), source: Box::new(error) }
        }
        KeyError::Id(_) => SetupError::Setting(error.to_string()),
    })
}

fn moment(attempt: &Attempt<'_>) -> Moment {
    Moment { now: attempt.now, at: Instant::now() }
}

/// Retires the connection, or marks it as proven. Only an answer that shows an accepted provider token is a proof;
/// before it APNs allows one stream.
fn judge_connection(response: &Response<ConnectionToken>, verdict: &Classification) {
    match verdict.connection {
        ConnectionFate::Retire => response.connection.retire(),
        ConnectionFate::Keep
            if response.status != StatusCode::FORBIDDEN && !response.status.is_server_error() =>
        {
            response.connection.mark_proven();
        }
        ConnectionFate::Keep => {}
    }
}

fn without_answer(error: &TransportError) -> Outcome {
    match (&error.kind, error.sent) {
        (TransportErrorKind::GoAway { debug, .. }, Sent::NotSent) => goaway_about_credential(debug),
        _ => None,
    }
    .unwrap_or_else(|| unanswered(error))
}

#[cfg(test)]
mod tests;
