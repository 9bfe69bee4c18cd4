//! APNs on one connection, as strict as docs/providers.md#apns says Apple is, and stricter where Apple leaves it open.
//! The order of the checks is ours (Apple documents none): path and method, headers, provider token, topic and
//! push type, payload, then the script.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::Value;

use super::apns_headers::Headers;
use super::apns_payload::{self, PushType};
use super::clock;
use super::entry::{Environment, Provider};
use super::jwt;
use super::reply::Reply;
use super::rule::H2Code;
use super::session::{APNS_ID, Accepting, Concerning, Plan, Received, Session, Shared};

/// A device token may be any even number of hex digits; longer than this is nonsense (docs/providers.md#apns-request).
const MAX_TOKEN_DIGITS: usize = 400;

/// A refusal: status and reason of docs/providers.md#apns-reasons.
pub(super) type Refusal = (StatusCode, &'static str);

/// One connection to APNs.
pub(super) struct ApnsSession {
    shared: Arc<Shared>,
    environment: Environment,
    connection: u64,
    /// The provider token that this connection lives by.
    current: Option<Current>,
    /// The only answer that it will ever give again, if any.
    wedged: Option<Refusal>,
    /// A rejection has lowered the limit.
    lowered: bool,
    /// The last payload that passed, so that equal ones are not parsed again.
    passed: Option<Passed>,
}

struct Passed {
    body: Bytes,
    push_type: &'static str,
    /// Its member `pushpost`: the notification's id.
    notification: Option<Arc<str>>,
}

struct Current {
    jwt: HeaderValue,
    issued_at: i64,
    since_ms: i64,
    /// Of the keyring, when the token was checked.
    round: u64,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    iat: i64,
}

impl ApnsSession {
    pub(super) fn new(shared: Arc<Shared>, environment: Environment, connection: u64) -> Self {
        Self { shared, environment, connection, current: None, wedged: None, lowered: false, passed: None }
    }

    /// Answers the notification's id, where the payload names one.
    fn check(&mut self, received: &Received, headers: &Headers<'_>) -> Result<Option<Arc<str>>, Refusal> {
        let parts = &received.parts;
        let token = device_token(parts.uri.path())?;
        if parts.method != Method::POST {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"));
        }
        if headers.twice {
            return refuse("DuplicateHeaders");
        }
        self.check_provider_token(headers.authorization)?;
        if token.is_empty() {
            return refuse("MissingDeviceToken");
        }
        let hex = token.len() <= MAX_TOKEN_DIGITS
            && token.len() % 2 == 0
            && token.bytes().all(|b| b.is_ascii_hexdigit());
        if !hex {
            return refuse("BadDeviceToken");
        }
        let push_type = headers
            .push_type()
            .and_then(apns_payload::find)
            .ok_or((StatusCode::BAD_REQUEST, "InvalidPushType"))?;
        self.check_topic(headers.topic(), push_type)?;
        headers.check_plain(push_type)?;
        self.check_payload(&received.body, push_type)
    }

    fn check_provider_token(&mut self, authorization: Option<&HeaderValue>) -> Result<(), Refusal> {
        if let Some(refusal) = self.wedged {
            return Err(refusal);
        }
        let Some(authorization) = authorization else {
            return Err((StatusCode::FORBIDDEN, "MissingProviderToken"));
        };
        let now_ms = clock::now_ms();
        let round = self.shared.keyring.round();
        let issued_at = match &self.current {
            Some(current) if current.jwt == authorization && current.round == round => current.issued_at,
            _ => self.verify(authorization)?,
        };
        let settings = &self.shared.settings.apns;
        if (now_ms / 1000 - issued_at).unsigned_abs() > settings.jwt_max_age.as_secs() {
            let refusal = (StatusCode::FORBIDDEN, "ExpiredProviderToken");
            self.wedged = settings.wedge_after_expired.then_some(refusal);
            return Err(refusal);
        }
        let current = self.current.as_mut().filter(|current| current.jwt == authorization);
        if let Some(current) = current {
            current.round = round;
            return Ok(());
        }
        let since_ms = self.current.as_ref().map(|current| current.since_ms);
        if since_ms.is_some_and(|since_ms| now_ms - since_ms < millis(settings.jwt_min_refresh)) {
            let refusal = (StatusCode::TOO_MANY_REQUESTS, "TooManyProviderTokenUpdates");
            self.wedged = Some(refusal);
            return Err(refusal);
        }
        self.current = Some(Current { jwt: authorization.clone(), issued_at, since_ms: now_ms, round });
        Ok(())
    }

    /// Signature, algorithm, key and team (docs/providers.md#apns-provider-token); the moment of issue, in seconds.
    fn verify(&self, authorization: &HeaderValue) -> Result<i64, Refusal> {
        let invalid = (StatusCode::FORBIDDEN, "InvalidProviderToken");
        let text = authorization.to_str().map_err(|_| invalid)?;
        let (scheme, token) = text.split_once(' ').ok_or(invalid)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err((StatusCode::FORBIDDEN, "MissingProviderToken"));
        }
        let key = jwt::key_id(token).and_then(|id| self.shared.keyring.provider_key(&id)).ok_or(invalid)?;
        let (_, claims) =
            jwt::verify::<Claims>(token, &key, Algorithm::ES256, "ES256").map_err(|_| invalid)?;
        let ours = claims.iss == self.shared.settings.apns.team_id;
        ours.then_some(claims.iat).ok_or(invalid)
    }

    /// A topic is a bundle id of ours with the suffix of its push type (docs/providers.md#apns-push-types).
    fn check_topic(&self, topic: &str, push_type: &PushType) -> Result<(), Refusal> {
        if topic.is_empty() {
            return refuse("MissingTopic");
        }
        if !topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-') {
            return refuse("BadTopic");
        }
        let suffix_of = |bundle: &String| topic.strip_prefix(bundle.as_str());
        let suffixes: Vec<&str> = self.shared.settings.apns.bundles.iter().filter_map(suffix_of).collect();
        if suffixes.contains(&push_type.suffix) {
            return Ok(());
        }
        let known = apns_payload::suffixes().any(|known| suffixes.contains(&known));
        refuse(if known { "DeviceTokenNotForTopic" } else { "TopicDisallowed" })
    }

    /// Answers the notification's id, where the payload names one.
    fn check_payload(
        &mut self,
        body: &Bytes,
        push_type: &'static PushType,
    ) -> Result<Option<Arc<str>>, Refusal> {
        if body.is_empty() {
            return refuse("PayloadEmpty");
        }
        if body.len() > push_type.max_bytes {
            return Err((StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLarge"));
        }
        if let Some(passed) = &self.passed
            && passed.push_type == push_type.name
            && passed.body == body
        {
            return Ok(passed.notification.clone());
        }
        let payload =
            apns_payload::check(body, push_type).map_err(|reason| (StatusCode::BAD_REQUEST, reason))?;
        let notification: Option<Arc<str>> = payload.get("pushpost").and_then(Value::as_str).map(Arc::from);
        let push_type = push_type.name;
        self.passed = Some(Passed { body: body.clone(), push_type, notification: notification.clone() });
        Ok(notification)
    }
}

impl Session for ApnsSession {
    fn judge(&mut self, received: Received) -> Plan {
        let headers = Headers::of(&received.parts.headers);
        let verdict = self.check(&received, &headers);
        let id = headers.reply_id();
        let (verdict, notification) = match verdict {
            Ok(notification) => {
                let reply = with_id(Reply::empty(StatusCode::OK, ""), id);
                (Ok(Accepting { reply, counts: true }), notification)
            }
            Err((status, reason)) => (Err(with_id(Reply::apns(status, reason, None), id)), None),
        };
        let shared = self.shared.clone();
        let uri = received.parts.uri.clone();
        let token = uri.path().strip_prefix("/3/device/").map(lower_case);
        let concerning = Concerning {
            provider: Provider::Apns,
            environment: Some(self.environment),
            connection: self.connection,
            token,
            notification,
            keep_body: true,
        };
        let plan = shared.plan(&concerning, received, verdict);
        if let (true, Some(status)) = (shared.settings.apns.streams_drop_on_rejection, plan.effect.status()) {
            // 410 is not counted as an error (docs/providers.md#apns-http2).
            self.lowered = status.is_client_error() && status != StatusCode::GONE;
        }
        plan
    }

    fn streams(&self, set: Option<u32>) -> u32 {
        match self.current {
            Some(_) if !self.lowered => set.unwrap_or(self.shared.settings.apns.streams),
            _ => 1,
        }
    }

    fn overflow(&self) -> (H2Code, &'static str) {
        (H2Code::RefusedStream, "Maximum active streams violated for this endpoint.")
    }
}

pub(super) fn refuse<T>(reason: &'static str) -> Result<T, Refusal> {
    Err((StatusCode::BAD_REQUEST, reason))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn device_token(path: &str) -> Result<&str, Refusal> {
    path.strip_prefix("/3/device/")
        .filter(|token| !token.contains('/'))
        .ok_or((StatusCode::NOT_FOUND, "BadPath"))
}

/// Tokens are compared in lower case, as they are stored.
fn lower_case(token: &str) -> Cow<'_, str> {
    if token.bytes().any(|byte| byte.is_ascii_uppercase()) {
        token.to_ascii_lowercase().into()
    } else {
        token.into()
    }
}

fn with_id(mut reply: Reply, id: HeaderValue) -> Reply {
    reply.set(APNS_ID, id);
    reply
}
