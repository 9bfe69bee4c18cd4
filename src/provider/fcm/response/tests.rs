//! Every row of FCM's tables of errors.

use serde_json::json;

use super::*;
use crate::provider::classification::ConnectionFate;

const FCM: &str = "type.googleapis.com/google.firebase.fcm.v1.FcmError";
const APNS: &str = "type.googleapis.com/google.firebase.fcm.v1.ApnsError";

fn judge_with(status: u16, headers: &[(&'static str, &str)], body: &str, activity: bool) -> Classification {
    let now = DateTime::from_timestamp(1_000_000_000, 0).expect("in range");
    let headers = headers
        .iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().expect("a header value")));
    let status = StatusCode::from_u16(status).expect("a status");
    classify(status, &headers.collect(), body.as_bytes(), Traits { activity, overridden: false }, now)
}

fn error(status: &str, message: &str, details: Value) -> String {
    json!({"error": {"code": 0, "status": status, "message": message, "details": details}}).to_string()
}

fn judge(http: u16, status: &str, details: Value) -> Classification {
    judge_with(http, &[], &error(status, "Some text.", details), false)
}

fn fcm(http: u16, code: &str) -> Classification {
    judge(http, "WHATEVER", json!([{"@type": FCM, "errorCode": code}]))
}

fn throttled(word: &str, secs: u64) -> Classification {
    let after = Some(Duration::from_secs(secs));
    Classification::keep(Outcome::RetryLane { reason: Reason::new(word), cause: LaneCause::Throttled, after })
}

#[test]
fn success_carries_the_message_name() {
    let accepted = |body: &str| judge_with(200, &[], body, false);
    let name = "projects/shop-1/messages/0:15%31bd";
    assert_eq!(
        accepted(&json!({ "name": name }).to_string()),
        Classification::accepted(Some(name.to_owned()))
    );
    assert_eq!(accepted("{}"), Classification::accepted(None));
    assert_eq!(accepted("<html>"), Classification::accepted(None));
    assert_eq!(accepted(r#"{"name":"a\u0000b\n"}"#), Classification::accepted(Some("ab".to_owned())));
}

#[test]
fn every_row_with_an_fcm_error_code() {
    use Certainty::{Certain, Doubtful};
    for (http, code, expected) in [
        (400, "INVALID_ARGUMENT", Classification::rejected("INVALID_ARGUMENT")),
        (
            401,
            "THIRD_PARTY_AUTH_ERROR",
            Classification::misconfigured("THIRD_PARTY_AUTH_ERROR", MisconfigurationScope::StoredKey),
        ),
        (
            401,
            "APNS_AUTH_ERROR",
            Classification::misconfigured("APNS_AUTH_ERROR", MisconfigurationScope::StoredKey),
        ),
        (403, "SENDER_ID_MISMATCH", Classification::dead("SENDER_ID_MISMATCH", Doubtful)),
        (404, "UNREGISTERED", Classification::dead("UNREGISTERED", Certain)),
        (429, "QUOTA_EXCEEDED", Classification::throttled("QUOTA_EXCEEDED", None)),
        (500, "INTERNAL", Classification::server_error("INTERNAL", None)),
        (503, "UNAVAILABLE", Classification::server_error("UNAVAILABLE", None)),
        // These codes have no meaning of their own, so the HTTP status decides.
        (400, "UNSPECIFIED_ERROR", Classification::rejected("UNSPECIFIED_ERROR")),
        (
            401,
            "UNSPECIFIED_ERROR",
            Classification::misconfigured("UNSPECIFIED_ERROR", MisconfigurationScope::Credential).renew(),
        ),
        (
            403,
            "UNSPECIFIED_ERROR",
            Classification::misconfigured("UNSPECIFIED_ERROR", MisconfigurationScope::Credential),
        ),
        (429, "UNSPECIFIED_ERROR", throttled("UNSPECIFIED_ERROR", 60)),
        (500, "UNSPECIFIED_ERROR", Classification::server_error("UNSPECIFIED_ERROR", None)),
        (400, "NEW_CODE", Classification::rejected("NEW_CODE")),
        (503, "NEW_CODE", Classification::server_error("NEW_CODE", None)),
    ] {
        assert_eq!(fcm(http, code), expected, "{http} {code}");
    }
}

#[test]
fn every_row_without_an_fcm_error_code() {
    let credential = |word| Classification::misconfigured(word, MisconfigurationScope::Credential);
    let server = |word| Classification::server_error(word, None);
    let quota = json!([{
        "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "RATE_LIMIT_EXCEEDED",
        "metadata": {"quota_limit": "SendsPerMinutePerProject"}
    }]);
    for (http, status, details, expected) in [
        (400, "INVALID_ARGUMENT", json!([]), Classification::rejected("INVALID_ARGUMENT")),
        (401, "UNAUTHENTICATED", json!([]), credential("UNAUTHENTICATED").renew()),
        (403, "PERMISSION_DENIED", json!([]), credential("PERMISSION_DENIED")),
        (404, "NOT_FOUND", json!([]), credential("NOT_FOUND")),
        (413, "OUT_OF_RANGE", json!([]), Classification::rejected("OUT_OF_RANGE")),
        (429, "RESOURCE_EXHAUSTED", quota, throttled("RESOURCE_EXHAUSTED", 60)),
        (500, "INTERNAL", json!([]), server("INTERNAL")),
        (503, "UNAVAILABLE", json!([]), server("UNAVAILABLE")),
        (504, "DEADLINE_EXCEEDED", json!([]), server("DEADLINE_EXCEEDED")),
    ] {
        assert_eq!(judge(http, status, details), expected, "{http} {status}");
    }
}

#[test]
fn foreign_bodies_are_classified_by_the_status() {
    for body in ["", "<html><title>Error 404 (Not Found)!!1</title></html>", "[]", r#"{"error":"nope"}"#] {
        assert_eq!(
            judge_with(404, &[], body, false),
            Classification::misconfigured("404", MisconfigurationScope::Credential),
            "{body}"
        );
        assert_eq!(
            judge_with(403, &[], body, false),
            Classification::misconfigured("403", MisconfigurationScope::Credential),
            "{body}"
        );
        assert_eq!(
            judge_with(401, &[], body, false),
            Classification::misconfigured("401", MisconfigurationScope::Credential).renew()
        );
        assert_eq!(judge_with(400, &[], body, false), Classification::rejected("400"), "{body}");
        assert_eq!(judge_with(429, &[], body, false), throttled("429", 60), "{body}");
        for gateway in [500, 502, 504] {
            let expected = Classification::server_error(&gateway.to_string(), None);
            assert_eq!(judge_with(gateway, &[], body, false), expected, "{body}");
        }
    }
}

#[test]
fn invalid_argument_is_classified_by_the_apns_reason_first() {
    use Certainty::{Certain, Doubtful};
    let said = |reason: &str, activity| {
        let details = json!([
            {"@type": FCM, "errorCode": "INVALID_ARGUMENT"},
            {"@type": APNS, "statusCode": 410, "reason": reason},
            {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"field": "message.x"}]}
        ]);
        judge_with(400, &[], &error("INVALID_ARGUMENT", "APNs device token is disabled.", details), activity)
    };
    for (reason, certainty) in [
        ("Unregistered", Certain),
        ("ExpiredToken", Certain),
        ("BadDeviceToken", Doubtful),
        ("DeviceTokenNotForTopic", Doubtful),
    ] {
        assert_eq!(said(reason, false), Classification::dead(reason, certainty));
        assert_eq!(
            said(reason, true),
            Classification::rejected(reason),
            "the Live Activity's token, not the device's"
        );
    }
    assert_eq!(said("PayloadTooLarge", false), Classification::rejected("PayloadTooLarge"));
}

#[test]
fn invalid_argument_is_classified_by_fields_then_by_text() {
    const TEXT: &str = "The registration token is not a valid FCM registration token";
    let dead = || Classification::dead("INVALID_ARGUMENT", Certainty::Doubtful);
    let rejected = || Classification::rejected("INVALID_ARGUMENT");
    let fields = |names: &[&str], text: &str| {
        let violations: Vec<_> =
            names.iter().map(|name| json!({"field": name, "description": "Invalid"})).collect();
        let details = json!([
            {"@type": FCM, "errorCode": "INVALID_ARGUMENT"},
            {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations}
        ]);
        judge_with(400, &[], &error("INVALID_ARGUMENT", text, details), false)
    };
    assert_eq!(fields(&["message.token"], "x"), dead());
    assert_eq!(fields(&["message.android.ttl"], TEXT), rejected());
    assert_eq!(fields(&["message.token", "message.data[0].value"], TEXT), rejected());
    assert_eq!(fields(&[], TEXT), rejected());
    let text = |text: &str, details| judge_with(400, &[], &error("INVALID_ARGUMENT", text, details), false);
    let own = json!([{"@type": FCM, "errorCode": "INVALID_ARGUMENT"}]);
    assert_eq!(text(TEXT, own.clone()), dead());
    assert_eq!(text("Request contains an invalid argument.", own), rejected());
    assert_eq!(text(TEXT, json!([])), rejected(), "only with FCM's own verdict");
}

#[test]
fn an_answer_may_say_how_long_to_wait() {
    let own = |code: &str| error("X", "", json!([{"@type": FCM, "errorCode": code}]));
    let exactly = |word, secs| Classification::server_error(word, Some(Duration::from_secs(secs)));
    let after = [("retry-after", "30")];
    assert_eq!(judge_with(503, &after, &own("UNAVAILABLE"), false), exactly("UNAVAILABLE", 30));
    assert_eq!(
        judge_with(429, &after, &own("QUOTA_EXCEEDED"), false),
        Classification::throttled("QUOTA_EXCEEDED", Some(Duration::from_secs(30)))
    );
    assert_eq!(judge_with(429, &after, "", false), throttled("429", 30));
    assert_eq!(judge_with(502, &after, "<html>", false), exactly("502", 30));
    let date = [("retry-after", "Sun, 09 Sep 2001 01:47:40 GMT"), ("date", "Sun, 09 Sep 2001 01:47:20 GMT")];
    assert_eq!(judge_with(503, &date, "", false), exactly("503", 20));
    assert_eq!(judge_with(503, &date[..1], "", false), exactly("503", 60));
    let info = error(
        "RESOURCE_EXHAUSTED",
        "",
        json!([
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "12.5s"}
        ]),
    );
    let Outcome::RetryLane { after, .. } = judge_with(429, &[], &info, false).outcome else {
        panic!("the lane")
    };
    assert_eq!(after, Some(Duration::from_millis(12_500)));
    assert_eq!(judge_with(429, &[("retry-after", "7")], &info, false), throttled("RESOURCE_EXHAUSTED", 7));
}

#[test]
fn no_answer_retires_a_connection() {
    for status in [400, 401, 403, 404, 429, 500, 503] {
        assert_eq!(judge_with(status, &[], "", false).connection, ConnectionFate::Keep);
    }
}

#[test]
fn overridden_headers_are_blamed_on_neither_token_nor_key() {
    let now = DateTime::from_timestamp(1_000_000_000, 0).expect("in range");
    let said = |http: u16, details: Value| {
        let status = StatusCode::from_u16(http).expect("a status");
        let traits = Traits { activity: false, overridden: true };
        classify(status, &HeaderMap::new(), error("X", "Some text.", details).as_bytes(), traits, now)
    };
    for reason in ["DeviceTokenNotForTopic", "Unregistered", "BadDeviceToken", "TopicDisallowed"] {
        for (http, code) in [(400, "INVALID_ARGUMENT"), (404, "UNREGISTERED")] {
            let details = json!([{"@type": FCM, "errorCode": code}, {"@type": APNS, "reason": reason}]);
            assert_eq!(said(http, details), Classification::rejected(reason), "{code} {reason}");
        }
    }
    for code in ["THIRD_PARTY_AUTH_ERROR", "APNS_AUTH_ERROR"] {
        let details = json!([{"@type": FCM, "errorCode": code}]);
        assert_eq!(said(401, details), Classification::misconfigured(code, MisconfigurationScope::Override));
    }
    // The overridden headers do not affect FCM's errors about its own token and about the credential.
    let gone = said(404, json!([{"@type": FCM, "errorCode": "UNREGISTERED"}]));
    assert_eq!(gone, Classification::dead("UNREGISTERED", Certainty::Certain));
    assert_eq!(said(403, json!([])), Classification::misconfigured("X", MisconfigurationScope::Credential));
}
