//! What the connection loop asks of a provider: a session judges one complete request at a time and says what
//! to answer, when, and what else to do to the stream or the connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::StatusCode;
use http::header::HeaderName;
use http::request::Parts;
use tokio::sync::watch;

use super::clock::{self, Started};
use super::entry::{End, Ended, Environment, Provider, Record};
use super::keyring::Keyring;
use super::ledger::{Arrival, Ledger, Ticket};
use super::oauth::AccessTokens;
use super::quota::Quota;
use super::reply::{Reply, timestamp};
use super::rule::{Action, H2Code, LastStream};
use super::rules::{self, Rules, Subject};
use super::settings::Settings;
use super::tls::Keys;

/// Echoed in every answer of APNs.
pub(super) const APNS_ID: HeaderName = HeaderName::from_static("apns-id");

/// A request with its whole body.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) parts: Parts,
    /// Cut off at 64 KiB.
    pub(super) body: Bytes,
    pub(super) stream: u32,
    /// When all of it was here, in microseconds since 1970.
    pub(super) at_us: i64,
}

/// What a session decided about one request.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) ticket: Ticket,
    pub(super) delay: Duration,
    pub(super) effect: Effect,
}

/// What happens after the delay.
#[derive(Debug)]
pub(super) enum Effect {
    /// The response; `accepted` goes to the ledger.
    Reply { reply: Reply, accepted: bool },
    /// The stream is reset by RST_STREAM.
    Reset { code: H2Code, accepted: bool },
    /// GOAWAY; streams that it spares are answered, this one with `reply`.
    GoAway { code: H2Code, last: LastStream, debug: String, reply: Reply, accepted: bool },
    /// The connection is dropped.
    Close { accepted: bool },
    /// The stream stays open.
    NoAnswer { accepted: bool },
    /// The connection is never served again.
    Stall { accepted: bool },
}

impl Effect {
    /// Whether the provider takes the notification, told or untold.
    pub(super) fn accepted(&self) -> bool {
        match self {
            Self::Reply { accepted, .. }
            | Self::Reset { accepted, .. }
            | Self::GoAway { accepted, .. }
            | Self::Close { accepted }
            | Self::NoAnswer { accepted }
            | Self::Stall { accepted } => *accepted,
        }
    }

    /// The status of the response, where there is one.
    pub(super) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Reply { reply, .. } | Self::GoAway { reply, .. } => Some(reply.status),
            Self::Reset { .. } | Self::Close { .. } | Self::NoAnswer { .. } | Self::Stall { .. } => None,
        }
    }
}

/// A provider's view of one connection.
pub(super) trait Session: Send + 'static {
    /// Judges a request and writes it into the ledger.
    fn judge(&mut self, received: Received) -> Plan;
    /// The stream limit as of now; `set` replaces the configured one (see [`Live::streams`]).
    fn streams(&self, set: Option<u32>) -> u32;
    /// What a GOAWAY for a stream beyond the limit says.
    fn overflow(&self) -> (H2Code, &'static str);
    /// How long a connection may be idle.
    fn idle_close(&self) -> Option<Duration> {
        None
    }
}

/// What changes for living connections.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Live {
    /// Overrides the stream limit that a session would have after its first valid token.
    pub(super) streams: Option<u32>,
    /// Counts up each time that all connections are to be closed.
    pub(super) closes: u64,
}

/// Shared by all connections of one simulator.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) keys: Keys,
    pub(super) keyring: Keyring,
    pub(super) rules: Rules,
    pub(super) ledger: Arc<Ledger>,
    pub(super) started: Started,
    pub(super) access_tokens: AccessTokens,
    pub(super) fcm_quota: Quota,
    pub(super) live: watch::Sender<Live>,
    pub(super) next_connection: AtomicU64,
    /// `https://localhost:PORT/token`, known once the port is bound.
    pub(super) token_uri: String,
    draws: AtomicU64,
}

impl Shared {
    pub(super) fn new(settings: Settings, keys: Keys, token_uri: String) -> Self {
        Self {
            rules: Rules::new(settings.seed),
            ledger: Arc::new(Ledger::new(settings.ledger)),
            started: Started::now(),
            access_tokens: AccessTokens::default(),
            fcm_quota: Quota::default(),
            live: watch::Sender::default(),
            next_connection: AtomicU64::new(1),
            draws: AtomicU64::new(0),
            keyring: Keyring::new(&settings, keys.apns_public.clone()),
            settings,
            keys,
            token_uri,
        }
    }

    /// Sets the stream limit of all connections, present and future.
    pub(super) fn set_streams(&self, streams: u32) {
        self.live.send_modify(|live| live.streams = Some(streams));
    }

    /// Drops all connections without a word.
    pub(super) fn close_connections(&self) {
        self.live.send_modify(|live| live.closes += 1);
    }

    fn latency(&self) -> Duration {
        if self.settings.latency_spread.is_zero() {
            return self.settings.latency;
        }
        let draw = rules::mixed(self.settings.seed, self.draws.fetch_add(1, Ordering::Relaxed));
        self.settings.latency + self.settings.latency_spread.mul_f64(rules::fraction(draw))
    }

    /// Writes a request down and decides about it: `verdict` is the refusal of a check or the reply that means
    /// acceptance; only the latter is subject to rules.
    pub(super) fn plan(
        &self,
        of: &Concerning<'_>,
        received: Received,
        verdict: Result<Accepting, Reply>,
    ) -> Plan {
        let script = match &verdict {
            Ok(_) => self.rules.decide(Subject {
                provider: of.provider,
                environment: of.environment,
                token: of.token.as_deref(),
                authorization: received
                    .parts
                    .headers
                    .get(http::header::AUTHORIZATION)
                    .map(HeaderValue::as_bytes),
                elapsed_ms: self.started.elapsed_ms(),
            }),
            Err(_) => None,
        };
        let (name, action, delay) = match script {
            Some(verdict) => (verdict.name, verdict.action, verdict.delay),
            None => (None, Action::Accept, Duration::ZERO),
        };
        let effect = match verdict {
            Ok(accepting) => effect(of, accepting, action),
            Err(reply) => Effect::Reply { reply, accepted: false },
        };
        let arrival = Arrival { notification: of.notification.as_deref(), at_us: received.at_us };
        let record = || of.record(received, name);
        let ticket = Ledger::received(&self.ledger, of.provider, effect.accepted(), arrival, record);
        Plan { ticket, delay: delay + self.latency(), effect }
    }
}

/// What a request is about.
pub(super) struct Concerning<'a> {
    pub(super) provider: Provider,
    pub(super) environment: Option<Environment>,
    pub(super) connection: u64,
    pub(super) token: Option<std::borrow::Cow<'a, str>>,
    /// The notification's id, where a request that passed its checks names one.
    pub(super) notification: Option<Arc<str>>,
    /// Whether the body may be kept; an OAuth assertion may not.
    pub(super) keep_body: bool,
}

impl Concerning<'_> {
    fn record(&self, received: Received, rule: Option<String>) -> Record {
        Record {
            provider: self.provider,
            environment: self.environment,
            connection: self.connection,
            stream: received.stream,
            received_ms: received.at_us / 1000,
            path: received.parts.uri.path().to_owned(),
            token: self.token.as_deref().map(str::to_owned),
            headers: received.parts.headers,
            body: if self.keep_body { received.body } else { Bytes::new() },
            rule,
            end: End::open(),
            ended_ms: None,
        }
    }
}

/// The reply of a request that passed every check.
pub(super) struct Accepting {
    pub(super) reply: Reply,
    /// False where nothing is sent: a dry run, an access token.
    pub(super) counts: bool,
}

fn effect(of: &Concerning<'_>, accepting: Accepting, action: Action) -> Effect {
    let Accepting { reply, counts } = accepting;
    let refuse = |reply| Effect::Reply { reply, accepted: false };
    match action {
        // What is wrong with a connection was decided when it began.
        Action::Accept | Action::Connection { .. } => Effect::Reply { reply, accepted: counts },
        Action::Answer(answer) => {
            let mut scripted = Reply::scripted(of.provider, &answer);
            keep_apns_id(&reply, &mut scripted);
            let accepted = counts && scripted.status == StatusCode::OK;
            if answer.then_go_away {
                let debug = String::from_utf8_lossy(&scripted.body).into_owned();
                let last = LastStream::This;
                return Effect::GoAway { code: H2Code::NoError, last, debug, reply: scripted, accepted };
            }
            Effect::Reply { reply: scripted, accepted }
        }
        Action::FcmFault { fault, retry_after, retry_after_date_seconds } => {
            refuse(fault.reply().retry_after(retry_after.as_deref(), retry_after_date_seconds))
        }
        Action::Dead { timestamp_ms, timestamp_ago_ms } => {
            let mut dead = dead(of.provider, timestamp(timestamp_ms, timestamp_ago_ms));
            keep_apns_id(&reply, &mut dead);
            refuse(dead)
        }
        Action::Environment { environment } if of.environment.is_some_and(|here| here != environment) => {
            let mut elsewhere = Reply::apns(StatusCode::BAD_REQUEST, "BadDeviceToken", None);
            keep_apns_id(&reply, &mut elsewhere);
            refuse(elsewhere)
        }
        Action::Environment { .. } => Effect::Reply { reply, accepted: counts },
        Action::Reset { code, accepted } => Effect::Reset { code, accepted },
        Action::GoAway { code, last, debug } => Effect::GoAway { code, last, debug, reply, accepted: counts },
        Action::Close { accepted } => Effect::Close { accepted },
        Action::NoAnswer { accepted } => Effect::NoAnswer { accepted },
        Action::Stall { accepted } => Effect::Stall { accepted },
    }
}

/// APNs echoes the id with refusals too.
fn keep_apns_id(from: &Reply, to: &mut Reply) {
    if let Some(id) = from.get(&APNS_ID) {
        to.set(APNS_ID, id.clone());
    }
}

fn dead(provider: Provider, timestamp_ms: Option<i64>) -> Reply {
    match provider {
        Provider::Apns => {
            Reply::apns(StatusCode::GONE, "Unregistered", Some(timestamp_ms.unwrap_or_else(clock::now_ms)))
        }
        Provider::Fcm | Provider::Oauth => super::faults::FcmFault::Unregistered.reply(),
    }
}

impl End {
    /// The end of a request that was answered: the response was handed to the connection.
    pub(super) fn answered(reply: &Reply, accepted: bool) -> Self {
        let answer = Some((reply.status.as_u16(), reply.reason.clone()));
        Self { ended: Ended::Answered, accepted, answer }
    }

    /// A request that ended without a response.
    pub(super) fn without_answer(ended: Ended, accepted: bool) -> Self {
        Self { ended, accepted, answer: None }
    }
}
