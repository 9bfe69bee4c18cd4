//! The classification of APNs's answers (docs/providers.md#apns-response, #apns-reasons, #apns-410). Pure.

use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::request::TopicOrigin;
use crate::domain::{Certainty, MisconfigurationScope, Outcome, Reason};
use crate::provider::classification::Classification;
use crate::provider::members::{members, text};
use crate::provider::retry_after::retry_after;

/// The body of an answer with any status but 200.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer<'a> {
    #[serde(borrow)]
    reason: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
}

/// Classifies an answer. `topic` says where the topic of the request came from.
///
/// A known reason decides, with any status. An unknown reason, and a body that is not APNs's, is classified by the
/// status. `now` (Postgres's clock) is used only for a `Retry-After` date in an answer without a `date` header.
pub fn classify(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    topic: TopicOrigin,
    now: DateTime<Utc>,
) -> Classification {
    if status == StatusCode::OK {
        return Classification::accepted(None);
    }
    let answer: Answer<'_> = members(body).unwrap_or_default();
    let asked = retry_after(headers, now);
    let Some(reason) = text(answer.reason) else {
        return by_class(status, status.as_str(), &answer, asked, topic);
    };
    let reason = reason.as_str();
    match reason {
        "BadCollapseId" | "BadExpirationDate" | "BadMessageId" | "BadPath" | "BadPriority"
        | "DuplicateHeaders" | "InvalidPushType" | "MethodNotAllowed" | "MissingDeviceToken"
        | "PayloadEmpty" | "PayloadTooLarge" => Classification::rejected(reason),
        "BadTopic" | "MissingTopic" | "TopicDisallowed" => match topic {
            TopicOrigin::Configured => Classification::misconfigured(reason, MisconfigurationScope::Topic),
            TopicOrigin::PushType | TopicOrigin::Override => Classification::rejected(reason),
        },
        // With an overridden topic the answer says nothing about the token.
        "BadDeviceToken" | "ExpiredToken" | "Unregistered" if topic == TopicOrigin::Override => {
            Classification::rejected(reason)
        }
        "BadDeviceToken" => Classification::dead(reason, Certainty::Doubtful),
        "DeviceTokenNotForTopic" => match topic {
            TopicOrigin::Configured => Classification::dead(reason, Certainty::Doubtful),
            // The token does not belong to the requested topic, but may belong to the configured one.
            TopicOrigin::PushType | TopicOrigin::Override => Classification::rejected(reason),
        },
        "ExpiredToken" | "Unregistered" => Classification::keep(gone(reason, &answer, Certainty::Certain)),
        "ExpiredProviderToken" => Classification::misconfigured(reason, credential(topic)).retire().renew(),
        reason if is_credential(reason) => Classification::misconfigured(reason, credential(topic)),
        "IdleTimeout" | "Shutdown" | "TooManyProviderTokenUpdates" | "UnrelatedKeyIdInToken" => {
            Classification::connection_ended(reason, asked)
        }
        "TooManyRequests" => Classification::throttled(reason, asked),
        "InternalServerError" | "ServiceUnavailable" => Classification::server_error(reason, asked),
        unknown => by_class(status, unknown, &answer, asked, topic),
    }
}

/// The outcome for a GOAWAY with JSON debug text that has a reason about the credential. `None` for any other text
/// (docs/providers.md#apns-http2, #apns-reasons).
pub(super) fn goaway_about_credential(debug: &str) -> Option<Outcome> {
    let answer: Value = serde_json::from_str(debug).ok()?;
    let reason = answer.get("reason")?.as_str().filter(|reason| is_credential(reason))?;
    Some(Outcome::Misconfigured { reason: Reason::new(reason), about: MisconfigurationScope::Credential })
}

/// Whether the reason says that the key, certificate or team is wrong. The reason about the environment is documented
/// in one spelling and was seen in another, so both are here.
fn is_credential(reason: &str) -> bool {
    matches!(
        reason,
        "BadCertificate"
            | "BadCertificateEnvironment"
            | "BadEnvironmentKeyIdInToken"
            | "BadEnvironmentKeyInToken"
            | "Forbidden"
            | "InvalidProviderToken"
            | "MissingProviderToken"
    )
}

/// The scope of a refused credential. Some keys serve some topics only, so a refusal for an overridden topic says
/// nothing about the lane.
fn credential(topic: TopicOrigin) -> MisconfigurationScope {
    match topic {
        TopicOrigin::Configured => MisconfigurationScope::Credential,
        TopicOrigin::PushType | TopicOrigin::Override => MisconfigurationScope::Override,
    }
}

fn by_class(
    status: StatusCode,
    reason: &str,
    answer: &Answer<'_>,
    asked: Option<std::time::Duration>,
    topic: TopicOrigin,
) -> Classification {
    match status.as_u16() {
        401 | 403 => Classification::misconfigured(reason, credential(topic)),
        408 | 425 => Classification::server_error(reason, asked),
        410 if topic == TopicOrigin::Override => Classification::rejected(reason),
        410 => Classification::keep(gone(reason, answer, Certainty::Doubtful)),
        429 => Classification::throttled(reason, asked),
        400..=499 => Classification::rejected(reason),
        // 5xx, and statuses that push services do not use.
        _ => Classification::server_error(reason, asked),
    }
}

/// The outcome for a dead token. `timestamp` is in milliseconds; without a readable one the start of the attempt
/// counts (docs/providers.md#apns-410).
fn gone(reason: &str, answer: &Answer<'_>, certainty: Certainty) -> Outcome {
    let since = answer.timestamp.and_then(|at| at.get().parse().ok()).filter(|millis| *millis > 0);
    let since = since.and_then(DateTime::from_timestamp_millis);
    Outcome::TokenDead { reason: Reason::of_provider(reason), since, certainty }
}

#[cfg(test)]
mod tests;
