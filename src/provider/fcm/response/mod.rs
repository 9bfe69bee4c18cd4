//! The classification of FCM's answers (docs/providers.md#fcm-responses, #fcm-errors, #fcm-invalid_argument,
//! #fcm-retries). Pure.

use std::borrow::Cow;
use std::time::Duration;

use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::request::Traits;
use crate::domain::{Certainty, LaneCause, MisconfigurationScope, Outcome, Reason, storable_provider_id};
use crate::provider::classification::Classification;
use crate::provider::members::{members, text};
use crate::provider::retry_after::{proto_duration, retry_after};

/// The lane waits this long if the project is over its quota and the answer states no delay
/// (docs/providers.md#fcm-retries).
const PROJECT_WAIT: Duration = Duration::from_secs(60);

/// A part of FCM's error message. Only this text tells a bad token from a bad message in some answers
/// (docs/providers.md#fcm-invalid_argument).
const BAD_TOKEN_TEXT: &str = "The registration token is not a valid FCM registration token";

/// The body of an accepting answer. There is one per device, so parsing borrows the text.
#[derive(Deserialize)]
struct Accepted<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
}

/// The body of any other answer.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ErrorBody<'a> {
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    details: Option<&'a RawValue>,
}

/// The parsed content of any other answer. Members that Google did not send are empty.
#[derive(Default)]
struct Answer {
    /// Google's canonical status, such as `NOT_FOUND`.
    status: Option<String>,
    message: String,
    /// FCM's error code, which takes precedence over the status.
    fcm: Option<String>,
    /// The reason that APNs gave to FCM.
    apns: Option<String>,
    /// The fields that a `BadRequest` detail names.
    fields: Option<Vec<String>>,
    /// The delay that FCM asks for: from `Retry-After`, else from `RetryInfo`.
    asked: Option<Duration>,
}

/// Classifies an answer to a message with these `traits`. `now` (Postgres's clock) is used only for a `Retry-After`
/// date in an answer without a `date` header.
pub fn classify(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    traits: Traits,
    now: DateTime<Utc>,
) -> Classification {
    if status.is_success() {
        let name = serde_json::from_slice::<Accepted<'_>>(body).ok().and_then(|accepted| accepted.name);
        return Classification::accepted(name.map(|name| storable_provider_id(&name)));
    }
    let mut answer = Answer::read(body);
    answer.asked = retry_after(headers, now).or(answer.asked);
    match answer.fcm.as_deref() {
        Some(reason @ ("THIRD_PARTY_AUTH_ERROR" | "APNS_AUTH_ERROR")) => {
            // The key depends on the topic, or on a web push header.
            let about = if traits.overridden {
                MisconfigurationScope::Override
            } else {
                MisconfigurationScope::StoredKey
            };
            Classification::misconfigured(reason, about)
        }
        Some(reason @ "SENDER_ID_MISMATCH") => Classification::dead(reason, Certainty::Doubtful),
        Some("UNREGISTERED") if answer.apns.is_some() && traits.is_of_another_token() => {
            Classification::rejected(answer.apns.as_deref().unwrap_or_default())
        }
        Some(reason @ "UNREGISTERED") => Classification::dead(reason, Certainty::Certain),
        Some(reason @ "QUOTA_EXCEEDED") => Classification::throttled(reason, answer.asked),
        Some(reason @ ("INTERNAL" | "UNAVAILABLE")) => Classification::server_error(reason, answer.asked),
        Some("INVALID_ARGUMENT") => invalid_argument(&answer, traits),
        _ => by_class(status, &answer, traits),
    }
}

/// Decides whether the token or the message is invalid, in the order of docs/providers.md#fcm-invalid_argument.
fn invalid_argument(answer: &Answer, traits: Traits) -> Classification {
    if let Some(reason) = answer.apns.as_deref() {
        let certainty = match reason {
            "Unregistered" | "ExpiredToken" => Certainty::Certain,
            "BadDeviceToken" | "DeviceTokenNotForTopic" => Certainty::Doubtful,
            _ => return Classification::rejected(reason),
        };
        return if traits.is_of_another_token() {
            Classification::rejected(reason)
        } else {
            Classification::dead(reason, certainty)
        };
    }
    if let Some(fields) = &answer.fields {
        let token_only = !fields.is_empty() && fields.iter().all(|field| field == "message.token");
        return if token_only { bad_token() } else { Classification::rejected("INVALID_ARGUMENT") };
    }
    if answer.fcm.as_deref() == Some("INVALID_ARGUMENT") && answer.message.contains(BAD_TOKEN_TEXT) {
        return bad_token();
    }
    Classification::rejected("INVALID_ARGUMENT")
}

fn bad_token() -> Classification {
    Classification::dead("INVALID_ARGUMENT", Certainty::Doubtful)
}

/// Classifies an answer by its status, if FCM's error code is missing or unknown.
fn by_class(status: StatusCode, answer: &Answer, traits: Traits) -> Classification {
    let code = answer.fcm.as_deref().or(answer.status.as_deref());
    let reason = code.unwrap_or(status.as_str());
    match status.as_u16() {
        400 if answer.status.as_deref() == Some("INVALID_ARGUMENT") => invalid_argument(answer, traits),
        401 => Classification::misconfigured(reason, MisconfigurationScope::Credential).renew(),
        403 | 404 => Classification::misconfigured(reason, MisconfigurationScope::Credential),
        408 | 425 => Classification::server_error(reason, answer.asked),
        429 => Classification::keep(Outcome::RetryLane {
            reason: Reason::of_provider(reason),
            cause: LaneCause::Throttled,
            after: Some(answer.asked.unwrap_or(PROJECT_WAIT)),
        }),
        400..=499 => Classification::rejected(reason),
        // 5xx, and statuses that push services do not use.
        _ => Classification::server_error(reason, answer.asked),
    }
}

impl Answer {
    fn read(body: &[u8]) -> Self {
        let error = members::<Body<'_>>(body).and_then(|body| members(body.error?.get().as_bytes()));
        let Some(ErrorBody { status, message, details }) = error else { return Self::default() };
        let mut answer =
            Self { status: text(status), message: text(message).unwrap_or_default(), ..Self::default() };
        let details = details.and_then(|details| serde_json::from_str::<Value>(details.get()).ok());
        let text = |value: &Value, name: &str| {
            value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        for detail in details.iter().filter_map(Value::as_array).flatten() {
            let kind = detail.get("@type").and_then(Value::as_str).unwrap_or_default();
            match kind.rsplit('/').next().unwrap_or_default() {
                "google.firebase.fcm.v1.FcmError" => answer.fcm = text(detail, "errorCode"),
                "google.firebase.fcm.v1.ApnsError" => answer.apns = text(detail, "reason"),
                "google.rpc.BadRequest" => answer.fields = Some(violated_fields(detail)),
                "google.rpc.RetryInfo" => {
                    answer.asked = text(detail, "retryDelay").and_then(|t| proto_duration(&t))
                }
                _ => {}
            }
        }
        answer
    }
}

fn violated_fields(detail: &Value) -> Vec<String> {
    let violations = detail.get("fieldViolations").and_then(Value::as_array);
    let field =
        |violation: &Value| violation.get("field").and_then(Value::as_str).unwrap_or_default().to_owned();
    violations.into_iter().flatten().map(field).collect()
}

#[cfg(test)]
mod tests;
