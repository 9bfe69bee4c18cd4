//! One line of the ledger: as it is kept (parts as they came) and as it is read.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Which of the three servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// Apple Push Notification service.
    Apns,
    /// Firebase Cloud Messaging, HTTP v1.
    Fcm,
    /// Whatever of Google's gives access tokens.
    Oauth,
}

/// Which of APNs' two hosts; told apart by port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Environment {
    /// The host `api.push.apple.com`.
    Production,
    /// The host `api.sandbox.push.apple.com`.
    Sandbox,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Not ended yet.
    Open,
    /// With a response.
    Answered,
    /// Its stream was reset by us.
    Reset,
    /// A GOAWAY named a lower stream: never processed.
    Unprocessed,
    /// Its connection ended first, from either side.
    Closed,
    /// We will never answer.
    NoAnswer,
    /// The client reset the stream before the answer.
    ClientGone,
}

/// One request as it was received, and its answer.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Counts up from 1 in order of receipt, over all providers.
    pub seq: u64,
    /// The server that received it.
    pub provider: Provider,
    /// Absent for FCM and OAuth.
    pub environment: Option<Environment>,
    /// Numbers connections from 1 over all ports.
    pub connection: u64,
    /// HTTP/2 stream id; 0 over HTTP/1.1.
    pub stream: u32,
    /// Milliseconds since 1970.
    pub received_ms: i64,
    /// The request's `:path`.
    pub path: String,
    /// Device token, where one could be read.
    pub token: Option<String>,
    /// Tells what `authorization` showed from what others showed, without telling it.
    pub credential: Option<String>,
    /// All headers but `authorization`.
    pub headers: BTreeMap<String, String>,
    /// The body where it is JSON.
    pub body: Option<Value>,
    /// Name of the rule that decided, where one did.
    pub rule: Option<String>,
    /// The provider took the notification, whether or not the sender was told.
    pub accepted: bool,
    /// HTTP status, once answered.
    pub status: Option<u16>,
    /// APNs' `reason`, FCM's `errorCode` or canonical status, OAuth's `error`; empty for success.
    pub reason: String,
    /// What became of the stream.
    pub ended: Ended,
    /// When that was, in milliseconds since 1970.
    pub ended_ms: Option<i64>,
}

impl Entry {
    /// The `pushpost` member (APNs: at the root; FCM: in `data`): the notification's id.
    pub fn notification(&self) -> Option<&str> {
        let body = self.body.as_ref()?;
        let place = match self.provider {
            Provider::Apns => body.get("pushpost"),
            Provider::Fcm => body.pointer("/message/data/pushpost"),
            Provider::Oauth => None,
        };
        place.and_then(Value::as_str)
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// How often a provider gave one answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Count {
    /// The server that answered.
    pub provider: Provider,
    /// The HTTP status.
    pub status: u16,
    /// As in [`Entry::reason`].
    pub reason: String,
    /// Number of such responses.
    pub count: u64,
}

/// A notification that a device was sent more than once, each time accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Duplicate {
    /// The later entry.
    pub seq: u64,
    /// The first entry of the same notification for the same token.
    pub first_seq: u64,
    /// Whether both carried the same `apns-id`; null for FCM.
    pub same_apns_id: Option<bool>,
    /// The device token.
    pub token: Option<String>,
}

/// Narrows a reading of the ledger.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// Exactly this device token.
    pub token: Option<String>,
    /// One server's entries.
    pub provider: Option<Provider>,
    /// Entries with a greater `seq`.
    #[serde(default)]
    pub since: u64,
    /// At most so many.
    pub limit: Option<usize>,
}

/// An entry with its parts as they came; readable forms are made only when the entry is read.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) provider: Provider,
    pub(super) environment: Option<Environment>,
    pub(super) connection: u64,
    pub(super) stream: u32,
    pub(super) received_ms: i64,
    pub(super) path: String,
    pub(super) token: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) rule: Option<String>,
    pub(super) end: End,
    pub(super) ended_ms: Option<i64>,
}

/// The second half of a record.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) ended: Ended,
    pub(super) accepted: bool,
    pub(super) answer: Option<(u16, Cow<'static, str>)>,
}

impl End {
    /// The state of a request that was just received.
    pub(super) fn open() -> Self {
        Self { ended: Ended::Open, accepted: false, answer: None }
    }
}

/// The beginning of the SHA-256, in hexadecimal.
pub(super) fn mark(secret: &[u8]) -> String {
    hex::encode(&Sha256::digest(secret)[..8])
}

impl Record {
    /// The readable form.
    pub(super) fn entry(&self, seq: u64) -> Entry {
        let readable = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        Entry {
            seq,
            provider: self.provider,
            environment: self.environment,
            connection: self.connection,
            stream: self.stream,
            received_ms: self.received_ms,
            path: self.path.clone(),
            token: self.token.clone(),
            credential: self.headers.get(http::header::AUTHORIZATION).map(|value| mark(value.as_bytes())),
            headers: self
                .headers
                .iter()
                .filter(|(name, _)| *name != http::header::AUTHORIZATION)
                .map(readable)
                .collect(),
            body: serde_json::from_slice(&self.body).ok(),
            rule: self.rule.clone(),
            accepted: self.end.accepted,
            status: self.end.answer.as_ref().map(|(status, _)| *status),
            reason: self
                .end
                .answer
                .as_ref()
                .map(|(_, reason)| reason.clone().into_owned())
                .unwrap_or_default(),
            ended: self.end.ended,
            ended_ms: self.ended_ms,
        }
    }
}
