//! Sending to APNs: one environment, one key, one pool of connections.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Authority;
use http::{HeaderValue, StatusCode};
use tokio::time::Instant;

use super::SANDBOX;
use super::credential::{ApnsCredential, Moment, Presented, ProviderToken};
use super::provider::Apns;
use super::request::{self, ApnsMessage, TopicOrigin};
use super::response::{classify, goaway_about_credential};
use crate::domain::{Content, Environment, MinDelay, NotificationId, Outcome};
use crate::provider::classification::{Classification, ConnectionFate};
use crate::provider::exchange::{exchange, unanswered};
use crate::provider::port::{Provider, ProviderClient};
use crate::provider::proxy::Proxy;
use crate::provider::setup::{self, SetupError};
use crate::provider::transport::{
    self, PingSettings, Pool, PoolStats, Response, Sent, TransportError, TransportErrorKind,
};
use crate::provider::{Attempt, Fingerprint};

/// Test of a silent connection; idle ones die unseen (docs/providers.md#connection-failures).
const PING: PingSettings =
    PingSettings { while_idle: Some(Duration::from_secs(45)), ..setup::PING_WHILE_WAITING };

/// What a lane's configuration says, files read and paths resolved.
pub struct Settings {
    /// The `.p8` file's bytes.
    pub key: Vec<u8>,
    /// Ten characters.
    pub key_id: String,
    /// Ten characters.
    pub team_id: String,
    /// Bundle id.
    pub topic: String,
    /// Which of Apple's hosts.
    pub environment: Environment,
    /// `https://host:port` instead of Apple's host.
    pub endpoint: Option<String>,
    /// PEM of a CA that is trusted too.
    pub ca_file: Option<PathBuf>,
    /// The proxy that leads to other machines.
    pub proxy: Option<Arc<Proxy>>,
    /// Most connections.
    pub connections: usize,
    /// Most streams of a connection that we open at once; APNs may allow fewer.
    pub max_streams: usize,
}

/// Connections to APNs, with the key that they present.
pub struct ApnsClient {
    pool: Pool<Presented>,
    credential: ApnsCredential,
    authority: Authority,
    topic: String,
    fingerprint: Fingerprint,
}

impl ApnsClient {
    /// Checks the settings; connects nothing yet.
    ///
    /// # Errors
    /// [`SetupError`] for a key, topic, endpoint or CA file that can't be used.
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        let credential = ApnsCredential::new(&settings.key, &settings.key_id, &settings.team_id)?;
        if settings.topic.is_empty() || HeaderValue::from_str(&settings.topic).is_err() {
            return Err(SetupError::Topic);
        }
        let host = match settings.environment == SANDBOX {
            true => "api.sandbox.push.apple.com",
            false => "api.push.apple.com",
        };
        let (origin, authority) = setup::origin(
            settings.endpoint.as_deref(),
            host,
            settings.ca_file.as_deref(),
            settings.proxy.as_deref(),
        )?;
        let fingerprint = Fingerprint::of(&[
            &credential.fingerprint().0,
            settings.topic.as_bytes(),
            authority.as_str().as_bytes(),
            &setup::ca_bytes(settings.ca_file.as_deref()),
        ]);
        let pool = Pool::new(
            origin,
            transport::Settings {
                connections: settings.connections,
                max_streams: settings.max_streams,
                first_streams: setup::FIRST_STREAMS,
                prove_first: true,
                connect_timeout: setup::CONNECT_TIMEOUT,
                request_timeout: setup::REQUEST_TIMEOUT,
                ping: Some(PING),
                idle_close: None,
                max_age: setup::MAX_AGE,
                evict_after_timeouts: setup::EVICT_AFTER_TIMEOUTS,
            },
        );
        Ok(Self { pool, credential, authority, topic: settings.topic, fingerprint })
    }

    async fn ask(
        &self,
        prepared: &ApnsMessage,
        attempt: &Attempt<'_>,
    ) -> Result<(Classification, Arc<ProviderToken>), Outcome> {
        let mut used = None;
        let head = |presented: &Presented| {
            let bearer = self.credential.bearer(presented, moment(attempt));
            let head = prepared.head(&self.authority, attempt, bearer.header.clone());
            used = Some(bearer);
            head
        };
        let response = exchange(&self.pool, attempt.deadline, attempt.validity, head, prepared.body()).await;
        let response = response.map_err(|error| without_answer(&error))?;
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
        let (verdict, bearer) = match self.ask(prepared, attempt).await {
            Ok(answered) => answered,
            Err(outcome) => return outcome,
        };
        let renewed = verdict.renew && self.credential.renew(&bearer, moment(attempt));
        // The connection was at fault, and takes no more requests: the device need not wait for its next turn.
        let elsewhere = verdict.connection == ConnectionFate::Retire
            && matches!(verdict.outcome, Outcome::RetryTarget { min_delay: MinDelay::None, .. });
        if !renewed && !elsewhere {
            return verdict.outcome;
        }
        match Box::pin(self.ask(prepared, attempt)).await {
            Ok((verdict, _)) => verdict.outcome,
            Err(outcome) => outcome,
        }
    }

    async fn reach(&self, deadline: Instant) -> Result<(), Outcome> {
        self.pool.reserve(deadline).await.map(drop).map_err(|error| without_answer(&error))
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

    async fn shutdown(&self) {
        self.pool.shutdown().await;
    }
}

fn moment(attempt: &Attempt<'_>) -> Moment {
    Moment { now: attempt.now, at: Instant::now() }
}

/// Only an answer that shows that the token was accepted opens the connection's other streams.
fn judge_connection(response: &Response<Presented>, verdict: &Classification) {
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
