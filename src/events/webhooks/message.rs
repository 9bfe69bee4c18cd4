//! What is posted: a list of events in the order of the log, or one event by itself.

use std::collections::BTreeSet;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;
use serde_json::json;

use super::client::SignedMessage;
use super::settings::SigningSecrets;
use crate::domain::{EventPlace, InstallationKey, MessageKind, NotificationId, WebhookId, sign};
use crate::events::WrittenEvent;

/// Bytes of a message's events at most, unless its only event is longer.
const EVENTS_BYTES_MAX: usize = 250 << 10;

/// A message before it is signed. Each attempt signs it anew.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebhookMessage {
    /// The value of `webhook-id`: the same in each attempt, also after a crash.
    pub id: String,
    /// Number of its events.
    pub events: i16,
    /// The last event.
    pub last: EventPlace,
    /// The notifications that its events are about, each once.
    pub notifications: Vec<NotificationId>,
    body: Bytes,
}

/// The time of an event, read from its JSON.
#[derive(Deserialize)]
struct EventTime {
    at: String,
}

impl WebhookMessage {
    /// Events in their order. None: there are none.
    pub(super) fn of_events(
        key: &InstallationKey,
        (webhook, replays): (WebhookId, i32),
        app: &str,
        events: &[WrittenEvent],
    ) -> Option<Self> {
        let (first, last) = (events.first()?, events.last()?);
        let id = key.webhook_message_id(webhook, replays, MessageKind::Ordered, (first.place, last.place));
        let list: Vec<&str> = events.iter().map(|event| &*event.json).collect();
        Some(Self {
            id,
            events: i16::try_from(events.len()).unwrap_or(i16::MAX),
            last: last.place,
            notifications: notifications(events),
            body: body(app, &time_of(&last.json), &list),
        })
    }

    /// An event that was set aside, which comes with `"late": true`.
    pub(super) fn of_late_event(
        key: &InstallationKey,
        (webhook, replays): (WebhookId, i32),
        app: &str,
        event: &WrittenEvent,
    ) -> Self {
        let id = key.webhook_message_id(webhook, replays, MessageKind::Late, (event.place, event.place));
        let json = match event.json.strip_prefix('{') {
            Some(rest) => format!("{{\"late\":true,{rest}"),
            None => event.json.to_string(),
        };
        let body = body(app, &time_of(&event.json), &[&json]);
        Self {
            id,
            events: 1,
            last: event.place,
            notifications: notifications(std::slice::from_ref(event)),
            body,
        }
    }

    /// Events that the log does not have any more.
    pub(super) fn of_gap(
        key: &InstallationKey,
        (webhook, replays): (WebhookId, i32),
        app: &str,
        cursor: EventPlace,
        (from, to): (DateTime<Utc>, DateTime<Utc>),
    ) -> Self {
        let id = key.webhook_message_id(webhook, replays, MessageKind::Gap, (cursor, cursor));
        let data = json!({"lost_from": text(from), "lost_to": text(to)});
        let event = single(&id, "webhook.gap", app, to, &data);
        Self { id, events: 1, last: cursor, notifications: Vec::new(), body: body(app, &text(to), &[&event]) }
    }

    /// A message that an operator asks for. It is no event of the log, and has a new id each time.
    pub fn of_test(app: &str, webhook: &str, now: DateTime<Utc>) -> Self {
        let id = format!("msg_{}", hex::encode(rand::random::<[u8; 16]>()));
        let event = single(&id, "webhook.test", app, now, &json!({"name": webhook}));
        Self {
            id,
            events: 1,
            last: EventPlace::START,
            notifications: Vec::new(),
            body: body(app, &text(now), &[&event]),
        }
    }

    /// The message as it is posted at this time, by Postgres's clock.
    pub fn signed(
        &self,
        secrets: &SigningSecrets,
        now: DateTime<Utc>,
        traceparent: Option<String>,
    ) -> SignedMessage {
        let timestamp = now.timestamp();
        let signature = sign(secrets.at(now), &self.id, timestamp, &self.body);
        SignedMessage { id: self.id.clone(), timestamp, signature, body: self.body.clone(), traceparent }
    }
}

fn notifications(events: &[WrittenEvent]) -> Vec<NotificationId> {
    let all: BTreeSet<NotificationId> = events.iter().filter_map(|event| event.notification).collect();
    all.into_iter().collect()
}

/// How many of the first events fit into a message. At least one does.
pub(super) fn events_that_fit(events: &[WrittenEvent]) -> usize {
    let mut bytes = 0;
    let fit = events.iter().take_while(|event| {
        bytes += event.json.len() + 1;
        bytes <= EVENTS_BYTES_MAX
    });
    fit.count().max(1).min(events.len())
}

/// An event that is not in the log. Its id is that of its message, so that receivers drop doubles of it too.
fn single(message: &str, kind: &str, app: &str, at: DateTime<Utc>, data: &serde_json::Value) -> String {
    let id = message.replacen("msg_", "evt_", 1);
    json!({"id": id, "type": kind, "app": app, "at": text(at), "data": data}).to_string()
}

fn body(app: &str, timestamp: &str, events: &[&str]) -> Bytes {
    let (app, timestamp) = (json!(app), json!(timestamp));
    let events = events.join(",");
    let body = format!(
        "{{\"type\":\"pushpost.events\",\"timestamp\":{timestamp},\"data\":{{\"app\":{app},\"events\":[{events}]}}}}"
    );
    body.into()
}

fn time_of(event: &str) -> String {
    serde_json::from_str(event).map(|EventTime { at }| at).unwrap_or_default()
}

fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}
