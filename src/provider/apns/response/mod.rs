//! What APNs's answers mean (docs/providers.md#apns-response, #apns-reasons, #apns-410). Pure.

use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::request::TopicOrigin;
use crate::domain::{Certainty, MinDelay, MisconfigurationScope, Outcome, Reason};
use crate::provider::classification::Classification;
use crate::provider::members::{members, text};
use crate::provider::retry_after::retry_after;

/// What any answer but 200 says.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer<'a> {
    #[serde(borrow)]
    reason: Option<&'a RawValue>,
    #[serde(borrow)]
    timestamp: Option<&'a RawValue>,
}

/// Judges an answer to a request whose topic came from `topic`.
///
/// Known reasons decide whatever the status is; unknown ones and bodies that aren't APNs's go by the status's class.
/// `now` (Postgres's clock) counts only for a `Retry-After` date without a `date` header.
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
        // For a topic that does not belong to the push type no word about the token counts.
        "BadDeviceToken" | "ExpiredToken" | "Unregistered" if topic == TopicOrigin::Override => {
            Classification::rejected(reason)
        }
        "BadDeviceToken" => Classification::dead(reason, Certainty::Doubtful),
        "DeviceTokenNotForTopic" => match topic {
            TopicOrigin::Configured => Classification::dead(reason, Certainty::Doubtful),
            // Another topic was asked for: that this token isn't its is no word about the token.
            TopicOrigin::PushType | TopicOrigin::Override => Classification::rejected(reason),
        },
        "ExpiredToken" | "Unregistered" => Classification::keep(gone(reason, &answer, Certainty::Certain)),
        "ExpiredProviderToken" => Classification::misconfigured(reason, credential(topic)).retire().renew(),
        reason if is_credential(reason) => Classification::misconfigured(reason, credential(topic)),
        "IdleTimeout" | "Shutdown" | "TooManyProviderTokenUpdates" | "UnrelatedKeyIdInToken" => {
            Classification::retry_after(reason, asked, MinDelay::None).retire()
        }
        "TooManyRequests" => Classification::retry_after(reason, asked, MinDelay::Throttled),
        "InternalServerError" | "ServiceUnavailable" => {
            Classification::retry_after(reason, asked, MinDelay::ServerError)
        }
        unknown => by_class(status, unknown, &answer, asked, topic),
    }
}

/// What a GOAWAY's debug text says about the credential, if it is JSON with such a reason
/// (docs/providers.md#apns-http2, #apns-reasons).
pub(super) fn goaway_about_credential(debug: &str) -> Option<Outcome> {
    let answer: Value = serde_json::from_str(debug).ok()?;
    let reason = answer.get("reason")?.as_str().filter(|reason| is_credential(reason))?;
    Some(Outcome::Misconfigured { reason: Reason::new(reason), about: MisconfigurationScope::Credential })
}

/// Key, certificate or team is wrong. The environment reason has been documented in one spelling and seen in another.
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

/// What a verdict on the credential concerns. Some keys serve some topics only, so one that came to a topic of the
/// request's choosing says nothing about the lane.
fn credential(topic: TopicOrigin) -> MisconfigurationScope {
    match topic {
        TopicOrigin::Configured => MisconfigurationScope::Credential,
        TopicOrigin::PushType | TopicOrigin::Override => MisconfigurationScope::Override,
    }
}

fn by_class(
    status: StatusCode,
    word: &str,
    answer: &Answer<'_>,
    asked: Option<std::time::Duration>,
    topic: TopicOrigin,
) -> Classification {
    match status.as_u16() {
        401 | 403 => Classification::misconfigured(word, credential(topic)),
        408 | 425 => Classification::retry_after(word, asked, MinDelay::ServerError),
        410 if topic == TopicOrigin::Override => Classification::rejected(word),
        410 => Classification::keep(gone(word, answer, Certainty::Doubtful)),
        429 => Classification::retry_after(word, asked, MinDelay::Throttled),
        400..=499 => Classification::rejected(word),
        // 5xx, and what no push service answers at all.
        _ => Classification::retry_after(word, asked, MinDelay::ServerError),
    }
}

/// `timestamp` is in milliseconds; without a readable one the start of the attempt counts (docs/providers.md#apns-410).
fn gone(reason: &str, answer: &Answer<'_>, certainty: Certainty) -> Outcome {
    let since = answer.timestamp.and_then(|at| at.get().parse().ok()).filter(|millis| *millis > 0);
    let since = since.and_then(DateTime::from_timestamp_millis);
    Outcome::TokenDead { reason: Reason::of_provider(reason), since, certainty }
}

#[cfg(test)]
mod tests;
