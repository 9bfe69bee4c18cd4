//! The headers of a request to APNs (docs/providers.md#apns-request), found in one pass, and the checks that each can
//! be put to alone.

use http::{HeaderMap, HeaderValue};

use super::apns::{Refusal, refuse};
use super::apns_payload::PushType;

const MAX_COLLAPSE_ID: usize = 64;

/// Every header that means something. Each may come once only.
#[derive(Default)]
pub(super) struct Headers<'a> {
    pub(super) authorization: Option<&'a HeaderValue>,
    topic: Option<&'a HeaderValue>,
    push_type: Option<&'a HeaderValue>,
    id: Option<&'a HeaderValue>,
    expiration: Option<&'a HeaderValue>,
    priority: Option<&'a HeaderValue>,
    collapse_id: Option<&'a HeaderValue>,
    /// One of them came again.
    pub(super) twice: bool,
}

impl<'a> Headers<'a> {
    /// The first of each.
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let mut found = Self::default();
        for (name, value) in headers {
            let place = match name.as_str() {
                "authorization" => &mut found.authorization,
                "apns-topic" => &mut found.topic,
                "apns-push-type" => &mut found.push_type,
                "apns-id" => &mut found.id,
                "apns-expiration" => &mut found.expiration,
                "apns-priority" => &mut found.priority,
                "apns-collapse-id" => &mut found.collapse_id,
                _ => continue,
            };
            match place {
                Some(_) => found.twice = true,
                None => *place = Some(value),
            }
        }
        found
    }

    pub(super) fn topic(&self) -> &'a str {
        self.topic.and_then(text).unwrap_or_default()
    }

    pub(super) fn push_type(&self) -> Option<&'a str> {
        self.push_type.and_then(text)
    }

    /// The sender's id where it is one, else a fresh one.
    pub(super) fn reply_id(&self) -> HeaderValue {
        match self.id {
            Some(id) if text(id).is_some_and(is_canonical_uuid) => id.clone(),
            _ => {
                let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
                HeaderValue::from_str(&id.to_string()).expect("a UUID is ASCII")
            }
        }
    }

    /// What needs nothing but the header and the push type.
    pub(super) fn check_plain(&self, push_type: &PushType) -> Result<(), Refusal> {
        let is = |value: Option<&HeaderValue>, good: fn(&str) -> bool| {
            value.is_none_or(|value| text(value).is_some_and(good))
        };
        if !is(self.id, is_canonical_uuid) {
            return refuse("BadMessageId");
        }
        if !is(self.expiration, is_whole_seconds) {
            return refuse("BadExpirationDate");
        }
        let priority = match self.priority.map(HeaderValue::as_bytes) {
            None | Some(b"10") => 10,
            Some(b"5") => 5,
            Some(b"1") => 1,
            Some(_) => return refuse("BadPriority"),
        };
        if push_type.priority.is_some_and(|only| only != priority) {
            return refuse("BadPriority");
        }
        if self.collapse_id.is_some_and(|id| id.is_empty() || id.len() > MAX_COLLAPSE_ID) {
            return refuse("BadCollapseId");
        }
        Ok(())
    }
}

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}

fn is_whole_seconds(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<i64>().is_ok()
}

/// 8-4-4-4-12 digits of lower-case hex (docs/providers.md#apns-request).
fn is_canonical_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}
