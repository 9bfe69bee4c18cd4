//! FCM's HTTP v1 send call on one connection: path and project, access token, schema, targets and sizes
//! (docs/providers.md 3). The token endpoint answers on the same port.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderValue};
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::clock;
use super::entry::Provider;
use super::faults::{FcmFault, bad_request};
use super::fcm_schema::{self, Violation, member};
use super::oauth;
use super::reply::Reply;
use super::rule::H2Code;
use super::session::{Accepting, Concerning, Plan, Received, Session, Shared};

const MAX_MESSAGE: usize = 4096;
const MAX_TOPIC_MESSAGE: usize = 2048;
const MAX_APNS_PAYLOAD: usize = 4096;
const MAX_TOKEN: usize = 4096;
const MAX_TOPIC: usize = 900;
const TARGETS: [&str; 4] = ["token", "fid", "topic", "condition"];

/// One connection to FCM or to the token endpoint.
pub(super) struct FcmSession {
    shared: Arc<Shared>,
    connection: u64,
    /// The last access token that passed and its end, so that most requests compare instead of look up.
    passed: Option<(HeaderValue, i64)>,
    passed_round: u64,
}

impl FcmSession {
    pub(super) fn new(shared: Arc<Shared>, connection: u64) -> Self {
        Self { shared, connection, passed: None, passed_round: 0 }
    }

    fn check(
        &mut self,
        received: &Received,
        message: &Result<Map<String, Value>, Reply>,
    ) -> Result<Accepting, Reply> {
        let parts = &received.parts;
        let project =
            project(parts.uri.path()).ok_or_else(|| Reply::html(StatusCode::NOT_FOUND, "NOT_FOUND"))?;
        if parts.method != Method::POST {
            return Err(Reply::html(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED"));
        }
        self.check_access_token(parts.headers.get(AUTHORIZATION))?;
        if project != self.shared.settings.fcm.project_id {
            return Err(FcmFault::PermissionDenied.reply());
        }
        let request = message.as_ref().map_err(Clone::clone)?;
        let mut violations = fcm_schema::check(request);
        if violations.is_empty() {
            violations = check_message(request);
        }
        if !violations.is_empty() {
            return Err(bad_request(&violations));
        }
        if let Err(wait) = self.shared.fcm_quota.take() {
            let seconds = wait.as_secs_f64().ceil().to_string();
            return Err(FcmFault::ProjectQuota.reply().retry_after(Some(&seconds), None));
        }
        let dry = member(request, "validate_only") == Some(&Value::Bool(true));
        let name = format!("projects/{project}/messages/{}", self.message_id(dry));
        Ok(Accepting { reply: Reply::json(StatusCode::OK, "", &json!({ "name": name })), counts: !dry })
    }

    fn message_id(&self, dry: bool) -> String {
        if dry {
            "fake_message_id".to_owned()
        } else {
            format!("0:{:016x}%{:08x}", rand::random::<u64>(), self.connection)
        }
    }

    fn check_access_token(&mut self, authorization: Option<&HeaderValue>) -> Result<(), Reply> {
        let refused = || FcmFault::Unauthenticated.reply();
        let authorization = authorization.ok_or_else(refused)?;
        let round = self.shared.access_tokens.round();
        if round != self.passed_round {
            (self.passed, self.passed_round) = (None, round);
        }
        let now_ms = clock::now_ms();
        let ends_ms = match &self.passed {
            Some((passed, ends_ms)) if passed == authorization => *ends_ms,
            _ => {
                let (scheme, token) =
                    authorization.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(refused)?;
                let issued =
                    scheme.eq_ignore_ascii_case("bearer").then(|| self.shared.access_tokens.ends_ms(token));
                issued.flatten().ok_or_else(refused)?
            }
        };
        if ends_ms <= now_ms {
            return Err(refused());
        }
        self.passed = Some((authorization.clone(), ends_ms));
        Ok(())
    }
}

impl Session for FcmSession {
    fn judge(&mut self, received: Received) -> Plan {
        let shared = self.shared.clone();
        if received.parts.uri.path() == oauth::PATH {
            let verdict = oauth::check(&shared, &received.parts, &received.body);
            return oauth::plan(&shared, self.connection, received, verdict);
        }
        let request = parse(&received);
        let verdict = self.check(&received, &request);
        let token = request.ok().and_then(|mut request| target(&mut request));
        let concerning = Concerning {
            provider: Provider::Fcm,
            environment: None,
            connection: self.connection,
            token: token.map(Cow::Owned),
            keep_body: true,
        };
        shared.plan(&concerning, received, verdict)
    }

    fn streams(&self, set: Option<u32>) -> u32 {
        set.unwrap_or(self.shared.settings.fcm.streams)
    }

    fn overflow(&self) -> (H2Code, &'static str) {
        (H2Code::ProtocolError, "exceeded_max_concurrent_streams")
    }

    fn idle_close(&self) -> Option<Duration> {
        self.shared.settings.fcm.idle_close
    }
}

fn project(path: &str) -> Option<&str> {
    path.strip_prefix("/v1/projects/")?
        .strip_suffix("/messages:send")
        .filter(|project| !project.contains('/'))
}

fn parse(received: &Received) -> Result<Map<String, Value>, Reply> {
    serde_json::from_slice(&received.body).map_err(|error| {
        bad_request(&[(
            String::new(),
            format!("Invalid JSON payload received at column {}.", error.column()),
        )])
    })
}

/// The device token (or installation id) that a script and the ledger go by.
fn target(request: &mut Map<String, Value>) -> Option<String> {
    let message = request.get_mut("message")?.as_object_mut()?;
    match message.remove("token").or_else(|| message.remove("fid"))? {
        Value::String(token) => Some(token),
        _ => None,
    }
}

/// What the tables cannot say: exclusive fields, values within strings, sizes. All fields have their types.
fn check_message(request: &Map<String, Value>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut fault = |place: &str, text: &str| found.push((place.to_owned(), text.to_owned()));
    let Some(message) = member(request, "message").and_then(Value::as_object) else {
        fault("message", "Message is not set.");
        return found;
    };
    let text = |name: &str| member(message, name).and_then(Value::as_str);
    let targets: Vec<&str> = TARGETS.into_iter().filter(|name| text(name).is_some()).collect();
    if targets.len() != 1 {
        fault("message", "Exactly one of token, fid, topic or condition is required.");
    }
    if text("token").is_some_and(|token| !is_token(token)) {
        fault("message.token", "Invalid registration token");
    }
    if text("topic").is_some_and(|topic| !is_topic(topic)) {
        fault("message.topic", "Invalid topic name");
    }
    if text("condition").is_some_and(|condition| condition.matches(" in topics").count() > 5) {
        fault("message.condition", "At most 5 topics");
    }
    if member(message, "android").is_some() && member(message, "android_v2").is_some() {
        fault("message.android_v2", "Only one of android and android_v2 may be set.");
    }
    let apns = member(message, "apns").and_then(Value::as_object);
    let payload = apns.and_then(|apns| member(apns, "payload"));
    if payload.is_some_and(|payload| payload.to_string().len() > MAX_APNS_PAYLOAD) {
        fault("message.apns.payload", "APNs payload is too big");
    }
    if apns.is_some_and(|apns| member(apns, "live_activity_token").is_some()) && text("token").is_none() {
        fault("message.apns.live_activity_token", "A registration token is required with it.");
    }
    let most =
        if text("topic").is_some() || text("condition").is_some() { MAX_TOPIC_MESSAGE } else { MAX_MESSAGE };
    if size(message) > most {
        fault("message", "Message is too big");
    }
    found
}

fn is_token(token: &str) -> bool {
    (1..=MAX_TOKEN).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_topic(topic: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte);
    (1..=MAX_TOPIC).contains(&topic.len()) && topic.bytes().all(allowed)
}

/// The compact JSON of the message without its target and its `apns` part, which has a limit of its own.
fn size(message: &Map<String, Value>) -> usize {
    let counted = message.iter().filter(|(key, _)| *key != "apns" && !TARGETS.contains(&key.as_str()));
    let members = counted.map(|(key, value)| key.len() + 3 + value.to_string().len() + 1).sum::<usize>();
    members.saturating_sub(1) + 2
}
