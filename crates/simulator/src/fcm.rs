//! FCM's HTTP v1 send call on one connection: path and project, access token, then the message (docs/providers.md#fcm).
//! Whatever gives access tokens answers on the same port.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::json;

use super::clock;
use super::entry::Provider;
use super::faults::FcmFault;
use super::fcm_message::{Message, Reader, Taken};
use super::oauth::{self, Use};
use super::reply::Reply;
use super::rule::H2Code;
use super::session::{Accepting, Concerning, Plan, Received, Session, Shared};

/// One connection to FCM or to what gives access tokens.
pub(super) struct FcmSession {
    shared: Arc<Shared>,
    connection: u64,
    /// The last access token that passed and its end, so that most requests compare instead of look up.
    passed: Option<(HeaderValue, i64)>,
    passed_round: u64,
    reader: Reader,
}

impl FcmSession {
    pub(super) fn new(shared: Arc<Shared>, connection: u64) -> Self {
        Self { shared, connection, passed: None, passed_round: 0, reader: Reader::default() }
    }

    fn check(&mut self, parts: &Parts, message: &Result<Taken, Reply>) -> Result<Accepting, Reply> {
        let project =
            project(parts.uri.path()).ok_or_else(|| Reply::html(StatusCode::NOT_FOUND, "NOT_FOUND"))?;
        if parts.method != Method::POST {
            return Err(Reply::html(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED"));
        }
        self.check_access_token(parts.headers.get(AUTHORIZATION))?;
        if project != self.shared.settings.fcm.project_id {
            return Err(FcmFault::PermissionDenied.reply());
        }
        let dry = message.as_ref().map_err(Clone::clone)?.dry;
        if let Err(wait) = self.shared.fcm_quota.take() {
            let seconds = wait.as_secs_f64().ceil().to_string();
            return Err(FcmFault::ProjectQuota.reply().retry_after(Some(&seconds), None));
        }
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
                let issued = || self.shared.access_tokens.ends_ms(token, Use::Send);
                scheme.eq_ignore_ascii_case("bearer").then(issued).flatten().ok_or_else(refused)?
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
        if oauth::is_endpoint(received.parts.uri.path()) {
            let verdict = oauth::check(&shared, &received.parts, &received.body);
            return oauth::plan(&shared, self.connection, received, verdict);
        }
        let Message { token, verdict: message } = self.reader.read(&received.body);
        let verdict = self.check(&received.parts, &message);
        let notification =
            verdict.is_ok().then(|| message.ok()).flatten().and_then(|taken| taken.notification);
        let concerning = Concerning {
            provider: Provider::Fcm,
            environment: None,
            connection: self.connection,
            token: token.map(Cow::Owned),
            notification,
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
