//! Every row of APNs's table of statuses and reasons.

use std::time::Duration;

use super::*;
use crate::provider::classification::ConnectionFate;

const NOW: i64 = 1_000_000_000;

fn judge_from(status: u16, headers: &HeaderMap, body: &str, topic: TopicOrigin) -> Classification {
    let now = DateTime::from_timestamp(NOW, 0).expect("in range");
    classify(StatusCode::from_u16(status).expect("a status"), headers, body.as_bytes(), topic, now)
}

fn judge(status: u16, body: &str) -> Classification {
    judge_from(status, &HeaderMap::new(), body, TopicOrigin::Configured)
}

fn reasoned(status: u16, reason: &str) -> Classification {
    judge(status, &format!(r#"{{"reason":"{reason}"}}"#))
}

fn dead(reason: &str, since_millis: Option<i64>, certainty: Certainty) -> Outcome {
    let since = since_millis.and_then(DateTime::from_timestamp_millis);
    Outcome::TokenDead { reason: Reason::new(reason), since, certainty }
}

#[test]
fn every_row_of_the_reason_table() {
    use Certainty::{Certain, Doubtful};
    use MisconfigurationScope::{Credential, Topic};
    let drop_msg: fn(&str) -> Classification = Classification::rejected;
    let credential = |reason: &str| Classification::misconfigured(reason, Credential);
    let topic = |reason: &str| Classification::misconfigured(reason, Topic);
    let elsewhere = |reason: &str| Classification::connection_ended(reason, None);
    type Expected<'a> = &'a dyn Fn(&str) -> Classification;
    let rows: &[(u16, &str, Expected<'_>)] = &[
        (400, "BadCollapseId", &drop_msg),
        (400, "BadExpirationDate", &drop_msg),
        (400, "BadMessageId", &drop_msg),
        (400, "BadPriority", &drop_msg),
        (400, "DuplicateHeaders", &drop_msg),
        (400, "InvalidPushType", &drop_msg),
        (400, "MissingDeviceToken", &drop_msg),
        (400, "PayloadEmpty", &drop_msg),
        (400, "BadTopic", &topic),
        (400, "MissingTopic", &topic),
        (400, "TopicDisallowed", &topic),
        (400, "BadDeviceToken", &|r| Classification::dead(r, Doubtful)),
        (400, "DeviceTokenNotForTopic", &|r| Classification::dead(r, Doubtful)),
        (400, "IdleTimeout", &elsewhere),
        (403, "BadCertificate", &credential),
        (403, "BadCertificateEnvironment", &credential),
        (403, "ExpiredProviderToken", &|r| credential(r).retire().renew()),
        (403, "Forbidden", &credential),
        (403, "InvalidProviderToken", &credential),
        (403, "MissingProviderToken", &credential),
        (403, "UnrelatedKeyIdInToken", &elsewhere),
        (403, "BadEnvironmentKeyIdInToken", &credential),
        (403, "BadEnvironmentKeyInToken", &credential),
        (404, "BadPath", &drop_msg),
        (405, "MethodNotAllowed", &drop_msg),
        (413, "PayloadTooLarge", &drop_msg),
        (410, "ExpiredToken", &|r| Classification::dead(r, Certain)),
        (410, "Unregistered", &|r| Classification::dead(r, Certain)),
        (429, "TooManyProviderTokenUpdates", &elsewhere),
        (429, "TooManyRequests", &|r| Classification::throttled(r, None)),
        (500, "InternalServerError", &|r| Classification::server_error(r, None)),
        (503, "ServiceUnavailable", &|r| Classification::server_error(r, None)),
        (503, "Shutdown", &elsewhere),
        // Unknown reasons are classified by the status.
        (400, "NewReason", &drop_msg),
        (401, "NewReason", &credential),
        (403, "NewReason", &credential),
        (404, "NewReason", &drop_msg),
        (408, "NewReason", &|r| Classification::server_error(r, None)),
        (410, "NewReason", &|r| Classification::dead(r, Doubtful)),
        (418, "NewReason", &drop_msg),
        (429, "NewReason", &|r| Classification::throttled(r, None)),
        (500, "NewReason", &|r| Classification::server_error(r, None)),
        (503, "Service Unavailable", &|r| Classification::server_error(r, None)),
        (302, "NewReason", &|r| Classification::server_error(r, None)),
    ];
    for (status, reason, expected) in rows {
        assert_eq!(reasoned(*status, reason), expected(reason), "{status} {reason}");
    }
}

#[test]
fn status_200_is_accepted_with_any_body() {
    for body in ["", "{}", "<html>"] {
        assert_eq!(judge(200, body), Classification::accepted(None));
    }
}

#[test]
fn foreign_bodies_are_classified_by_the_status() {
    for body in
        ["", "<html><body>Bad Gateway</body></html>", "[]", "null", r#"{"reason":7}"#, r#"{"reason":""}"#]
    {
        assert_eq!(judge(502, body), Classification::server_error("502", None), "{body}");
        assert_eq!(judge(400, body), Classification::rejected("400"), "{body}");
        assert_eq!(
            judge(403, body),
            Classification::misconfigured("403", MisconfigurationScope::Credential),
            "{body}"
        );
        assert_eq!(judge(410, body), Classification::dead("410", Certainty::Doubtful), "{body}");
    }
}

#[test]
fn a_timestamp_is_in_milliseconds_and_an_unreadable_one_is_ignored() {
    let gone = |timestamp: &str| {
        judge(410, &format!(r#"{{"reason":"Unregistered","timestamp":{timestamp}}}"#)).outcome
    };
    let certain = |since| dead("Unregistered", since, Certainty::Certain);
    assert_eq!(gone("1795000000123"), certain(Some(1_795_000_000_123)));
    for nonsense in ["null", "\"1795000000123\"", "0", "-5", "1.5", "1e300", "9223372036854775807", "[]"] {
        assert_eq!(gone(nonsense), certain(None), "{nonsense}");
    }
}

#[test]
fn an_overridden_topic_is_blamed_on_neither_lane_nor_token() {
    let from = |status, reason: &str, origin| {
        judge_from(status, &HeaderMap::new(), &format!(r#"{{"reason":"{reason}"}}"#), origin)
    };
    for origin in [TopicOrigin::PushType, TopicOrigin::Override] {
        for reason in ["BadTopic", "MissingTopic", "TopicDisallowed", "DeviceTokenNotForTopic"] {
            assert_eq!(from(400, reason, origin), Classification::rejected(reason), "{reason} {origin:?}");
        }
        for reason in ["InvalidProviderToken", "Forbidden", "BadEnvironmentKeyInToken", "NewReason"] {
            let held_back = Classification::misconfigured(reason, MisconfigurationScope::Override);
            assert_eq!(from(403, reason, origin), held_back, "{reason} {origin:?}");
        }
    }
    // With the topic of a push type, a verdict on the token counts.
    for (status, reason) in
        [(400, "BadDeviceToken"), (410, "Unregistered"), (410, "ExpiredToken"), (410, "NewReason")]
    {
        assert_eq!(from(status, reason, TopicOrigin::PushType), reasoned(status, reason), "{reason}");
        assert_eq!(from(status, reason, TopicOrigin::Override), Classification::rejected(reason), "{reason}");
    }
}

#[test]
fn retry_after_is_honoured_in_both_forms() {
    let with = |value: &str, status, reason: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", value.parse().expect("a header value"));
        judge_from(status, &headers, &format!(r#"{{"reason":"{reason}"}}"#), TopicOrigin::Configured)
    };
    let secs = |secs| Some(Duration::from_secs(secs));
    let unavailable = |asked| Classification::server_error("ServiceUnavailable", asked);
    assert_eq!(with("7", 503, "ServiceUnavailable"), unavailable(secs(7)));
    assert_eq!(with("7", 429, "TooManyRequests"), Classification::throttled("TooManyRequests", secs(7)));
    assert_eq!(with("7", 503, "Shutdown"), Classification::connection_ended("Shutdown", secs(7)));
    assert_eq!(
        with("Sun, 09 Sep 2001 01:47:10 GMT", 500, "InternalServerError"),
        Classification::server_error("InternalServerError", secs(30))
    );
    assert_eq!(with("soon", 503, "ServiceUnavailable"), unavailable(None));
}

#[test]
fn a_reason_is_kept_printable_and_short() {
    let verdict = judge(400, &format!(r#"{{"reason":"{}\u0000"}}"#, "é".repeat(3) + &"x".repeat(500)));
    let Outcome::Rejected { reason } = verdict.outcome else { panic!("{verdict:?}") };
    assert_eq!(reason.as_str(), "x".repeat(Reason::MAX));
}

#[test]
fn only_an_outdated_jwt_is_renewed_and_only_faults_of_the_connection_retire_it() {
    assert_eq!(reasoned(403, "InvalidProviderToken").connection, ConnectionFate::Keep);
    assert!(!reasoned(403, "InvalidProviderToken").renew);
    assert!(reasoned(403, "ExpiredProviderToken").renew);
}

#[test]
fn a_goaway_concerns_the_credential_only_with_json_text() {
    let credential = Outcome::Misconfigured {
        reason: Reason::new("BadCertificate"),
        about: MisconfigurationScope::Credential,
    };
    assert_eq!(goaway_about_credential(r#"{"reason":"BadCertificate"}"#), Some(credential));
    for other in ["", "Maximum active streams violated for this endpoint.", r#"{"reason":"Shutdown"}"#, "{}"]
    {
        assert_eq!(goaway_about_credential(other), None, "{other}");
    }
}
