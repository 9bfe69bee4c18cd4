//! A response, and how a scripted [`Answer`] becomes one in each provider's own form.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::clock;
use super::faults;
use super::{Answer, Provider};

/// What a provider answers.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    /// As the ledger counts it; empty for success.
    pub(super) reason: Cow<'static, str>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
}

impl Reply {
    /// A response with this JSON body.
    pub(super) fn json(status: StatusCode, reason: impl Into<Cow<'static, str>>, body: &Value) -> Self {
        let mut reply = Self::empty(status, reason);
        reply.set(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
        reply.body = Bytes::from(body.to_string());
        reply
    }

    /// A response with this HTML body, as front ends send them.
    pub(super) fn html(status: StatusCode, reason: impl Into<Cow<'static, str>>) -> Self {
        let mut reply = Self::empty(status, reason);
        reply.set(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=UTF-8"));
        reply.body = Bytes::from(format!(
            "<!DOCTYPE html><html><title>Error {0}</title><p>{0}</p></html>",
            status.as_u16()
        ));
        reply
    }

    /// A response without a body.
    pub(super) fn empty(status: StatusCode, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { status, reason: reason.into(), headers: Vec::new(), body: Bytes::new() }
    }

    /// APNs' error body (docs/providers.md#apns-response).
    pub(super) fn apns(
        status: StatusCode,
        reason: impl Into<Cow<'static, str>>,
        timestamp_ms: Option<i64>,
    ) -> Self {
        let reason = reason.into();
        let mut body = json!({ "reason": reason });
        if let Some(timestamp) = timestamp_ms {
            body["timestamp"] = timestamp.into();
        }
        Self::json(status, reason, &body)
    }

    /// A header's value.
    pub(super) fn get(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value)
    }

    /// Sets a header in place of an earlier value.
    pub(super) fn set(&mut self, name: HeaderName, value: HeaderValue) {
        match self.headers.iter_mut().find(|(given, _)| *given == name) {
            Some((_, old)) => *old = value,
            None => self.headers.push((name, value)),
        }
    }

    /// The response's head, and its body.
    pub(super) fn into_parts(self) -> (Response<()>, Bytes) {
        let mut head = Response::new(());
        *head.status_mut() = self.status;
        head.headers_mut().extend(self.headers);
        (head, self.body)
    }

    /// Adds `Retry-After`, verbatim or as a date; a value that is no header value is left out.
    pub(super) fn retry_after(mut self, verbatim: Option<&str>, date_seconds: Option<u64>) -> Self {
        let date = date_seconds.map(clock::http_date_in);
        if let Some(value) = date.as_deref().or(verbatim).and_then(|text| HeaderValue::from_str(text).ok()) {
            self.set(RETRY_AFTER, value);
        }
        self
    }

    /// A scripted response.
    pub(super) fn scripted(provider: Provider, answer: &Answer) -> Self {
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let raw = answer.body_base64.as_ref().and_then(|text| BASE64_STANDARD.decode(text).ok());
        let mut reply = match (&answer.body, provider) {
            _ if raw.is_some() => Self {
                body: raw.unwrap_or_default().into(),
                ..Self::empty(status, answer.reason.clone().unwrap_or_default())
            },
            (Some(body), _) => Self::with_body(status, answer, body),
            (None, Provider::Apns) => Self::scripted_apns(status, answer),
            (None, Provider::Fcm) => {
                faults::scripted(status, answer.reason.as_deref(), answer.message.as_deref())
            }
            (None, Provider::Oauth) => Self::scripted_oauth(status, answer),
        };
        if let Some(value) = answer.content_type.as_deref().and_then(|text| HeaderValue::from_str(text).ok())
        {
            reply.set(CONTENT_TYPE, value);
        }
        for (name, value) in &answer.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                reply.set(name, value);
            }
        }
        reply.retry_after(answer.retry_after.as_deref(), answer.retry_after_date_seconds)
    }

    fn with_body(status: StatusCode, answer: &Answer, body: &Value) -> Self {
        let mut reply = Self::json(status, answer.reason.clone().unwrap_or_default(), body);
        if let Value::String(text) = body {
            reply.body = Bytes::from(text.clone());
        }
        reply
    }

    fn scripted_apns(status: StatusCode, answer: &Answer) -> Self {
        let Some(reason) = answer.reason.clone() else { return Self::empty(status, "") };
        let stated = timestamp(answer.timestamp_ms, answer.timestamp_ago_ms);
        let usual = (status == StatusCode::GONE && !answer.without_timestamp).then(clock::now_ms);
        Self::apns(status, reason, stated.or(usual))
    }

    fn scripted_oauth(status: StatusCode, answer: &Answer) -> Self {
        let error = answer.reason.clone().unwrap_or_else(|| "internal_failure".to_owned());
        let body =
            json!({ "error": error, "error_description": answer.message.as_deref().unwrap_or("scripted") });
        Self::json(status, error, &body)
    }
}

/// A moment given outright or as an age.
pub(super) fn timestamp(at_ms: Option<i64>, ago_ms: Option<i64>) -> Option<i64> {
    at_ms.or_else(|| ago_ms.map(|ago| clock::now_ms() - ago))
}
