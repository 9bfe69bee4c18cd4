//! The answers of `/v1/events`, and an event as they show it.

use std::borrow::Cow;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use serde::Serialize;
use utoipa::ToSchema;

use super::data::EventDataAnswer;
use crate::api::schema_enums;
use crate::api::time::Timestamp;

/// An event of the app.
#[derive(Serialize, ToSchema, Debug)]
#[schema(example = json!({
    "id": "evt_69418c47bbecec5cf923d0bc8794da1be660e7f77019", "type": "notification.done", "app": "shop",
    "at": "2026-11-28T09:00:00.120Z",
    "data": {
        "notification": "ntf_0198a2f1c3d47e5f8a9b0c1d2e3f4a5b", "label": "order-updates", "metadata": {"order": "789"},
        "created_at": "2026-11-28T09:00:00.000Z", "due_at": "2026-11-28T09:00:00.000Z",
        "started_at": "2026-11-28T09:00:00.010Z", "done_at": "2026-11-28T09:00:00.120Z",
        "counts": {
            "targets": 2, "pending": 0, "accepted": 2, "unknown": 0, "rejected": 0, "token_dead": 0, "expired": 0,
            "cancelled": 0
        }
    }
}))]
pub(super) struct Event<'a> {
    /// The event's id, which is a place in the log too: `after` and `Last-Event-ID` take it.
    pub(super) id: &'a str,
    /// What it tells. It decides about the members of `data`.
    #[serde(rename = "type")]
    #[schema(value_type = schema_enums::EventType)]
    pub(super) kind: &'static str,
    /// The name of the app.
    pub(super) app: &'a str,
    /// When its fact was committed. The order of events is that of the log.
    pub(super) at: Timestamp,
    /// What it tells. It may gain members.
    pub(super) data: EventDataAnswer<'a>,
}

/// A page of events, oldest first.
#[derive(ToSchema, Debug)]
#[schema(example = json!({
    "items": [{
        "id": "evt_69418c47bbecec5cf923d0bc8794da1be660e7f77019", "type": "node.started", "app": "shop",
        "at": "2026-11-28T09:00:00.120Z", "data": {"node": 7, "name": "push-1-4711", "version": "0.1.0"}
    }],
    "next_cursor": "a4c1eae90cbb5dcdc4b32b2a5b7f4d6f0a1f8c2b4e5d", "has_more": false
}))]
#[expect(dead_code, reason = "describes what `answer` writes")]
pub(super) struct EventList<'a> {
    /// The events of this page.
    items: Vec<Event<'a>>,
    /// What to send as `cursor` for the events that follow. A log has no end, so it is never null.
    next_cursor: Cow<'a, str>,
    /// True: more events follow already. False: this was the end of the log.
    has_more: bool,
}

impl EventList<'_> {
    /// The events are written already, so that streams and pages share them.
    pub(super) fn answer(items: &[Arc<str>], next_cursor: &str, has_more: bool) -> Response {
        let bytes: usize = items.iter().map(|item| item.len() + 1).sum();
        let mut json = String::with_capacity(bytes + 200);
        json.push_str(r#"{"items":["#);
        for (place, item) in items.iter().enumerate() {
            if place > 0 {
                json.push(',');
            }
            json.push_str(item);
        }
        json.push_str(&format!(r#"],"next_cursor":"{next_cursor}","has_more":{has_more}}}"#));
        ([(CONTENT_TYPE, "application/json")], json).into_response()
    }
}
