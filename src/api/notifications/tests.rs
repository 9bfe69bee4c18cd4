//! What `POST /v1/notifications` makes of a body, by the tables of its contract.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::idempotency::HeaderKey;
use super::request::{Context, read};
use crate::api::error::ApiError;
use crate::api::tests::app;
use crate::domain::{ErrorLocation, InstallationKey, Kind, Priority, SendTime, Ttl, ValidationError};
use crate::notifications::send::Submission;
use crate::provider::{Providers, apns, fcm};

mod audience;
mod size;

/// The time at which the requests of these tests are read.
const NOW: &str = "2026-12-01T09:00:00Z";

fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).expect("a time").to_utc()
}

fn key() -> InstallationKey {
    InstallationKey::new([7; 32])
}

fn send(body: &str) -> Result<Submission, ApiError> {
    let app = app();
    read(
        body.as_bytes(),
        Context {
            app: &app,
            providers: &Providers::default(),
            installation: &key(),
            targets_max: 5,
            now: at(NOW),
            default_ttl: Ttl::MAX,
            header_key: HeaderKey::Absent,
            checks_size: true,
            rejects_bad_tokens: false,
        },
    )
    .1
}

/// A body that is fine but for what `more` says.
fn body(more: Value) -> String {
    let mut body = json!({"to": {"users": ["u7"]}, "title": "A"});
    let (Value::Object(members), Value::Object(more)) = (&mut body, more) else { panic!("objects") };
    members.extend(more);
    body.to_string()
}

fn faults(body: &str) -> Vec<ValidationError> {
    match send(body) {
        Err(ApiError::Invalid(faults)) => faults,
        other => panic!("{body}: {other:?}"),
    }
}

fn codes(body: &str) -> Vec<(String, &'static str)> {
    let pointer = |fault: ValidationError| match fault.place {
        ErrorLocation::Pointer(pointer) => (pointer, fault.code.as_str()),
        other => panic!("{other:?} in a body"),
    };
    faults(body).into_iter().map(pointer).collect()
}

fn assert_codes(body: &str, expected: &[(&str, &'static str)]) {
    let expected: Vec<_> = expected.iter().map(|(at, code)| ((*at).to_owned(), *code)).collect();
    assert_eq!(codes(body), expected, "{body}");
}

#[test]
fn all_faults_of_form_are_reported_at_once() {
    let body = r#"{"to":{"users":"u7"},"titel":"A","badge":"1"}"#;
    assert_codes(
        body,
        &[("#/to/users", "wrong_type"), ("#/titel", "unknown_field"), ("#/badge", "wrong_type")],
    );
    assert_eq!(faults(body)[1].facts["suggestion"], "title");
}

#[test]
fn all_faults_of_meaning_are_reported_at_once() {
    let body = r#"{"to":{"tokens":[{"platform":"hms","token":"x"},{"platform":"apns","token":"abc"}],"condition":"news && (sport"},
        "silent":true,"title":"A","ttl":"29d","data":{"google.x":"1"},"fcm":{"topic":"all"},
        "apns":{"headers":{"apns-expiration":"0"}}}"#;
    assert_codes(
        body,
        &[
            ("#/to/tokens/0/platform", "unsupported_platform"),
            ("#/to/tokens/1/token", "bad_token"),
            ("#/to/condition", "bad_condition"),
            ("#/silent", "silent_with_content"),
            ("#/ttl", "bad_ttl"),
            ("#/data/google.x", "reserved_key"),
            ("#/fcm/topic", "not_overridable"),
            ("#/apns/headers/apns-expiration", "not_overridable"),
        ],
    );
    assert_eq!(faults(body)[0].facts["supported"], json!(["apns", "fcm"]));
    assert_eq!(faults(body)[2].facts["offset"], 14);
}

#[test]
fn all_members_are_read() {
    let request = send(
        r#"{"to":{"users":["u7","u8"]},"title":"Order shipped","body":"Your order #789 has been dispatched.",
            "sound":"default","badge":1,"category":"ORDER","thread":"orders","url":"myapp://orders/789",
            "image":"https://cdn.example.com/789.jpg","data":{"order_id":"789","lines":3},"ttl":"1h",
            "collapse_key":"order-789","apns":{"payload":{"aps":{"interruption-level":"time-sensitive"}}},
            "fcm":{"android":{"notification":{"channel_id":"orders"}}}}"#,
    )
    .expect("valid");
    assert_eq!(request.audience.users().count(), 2);
    assert_eq!(request.ttl.as_secs(), 3600);
    assert_eq!(request.content.badge, Some(1));
    assert_eq!(request.content.data["lines"], 3);
    let overrides = &request.content.overrides;
    assert_eq!(overrides.of(apns::PLATFORM)["payload"]["aps"]["interruption-level"], "time-sensitive");
    assert_eq!(overrides.of(fcm::PLATFORM)["android"]["notification"]["channel_id"], "orders");
    assert_eq!((request.content.priority, request.kind), (Priority::Normal, Kind::Alert));
}

#[test]
fn null_counts_as_absent() {
    let nothing = json!({"body": null, "badge": null, "data": null, "ttl": null, "apns": null, "metadata": null, "send_at": null});
    let request = send(&body(nothing)).expect("valid");
    assert_eq!((request.content.body, request.ttl, request.metadata), (None, Ttl::MAX, None));
}

#[test]
fn content_is_required() {
    for nothing in [
        json!({"title": null}),
        json!({"title": ""}),
        json!({"title": null, "data": {"a": 1}, "image": "https://a/b"}),
    ] {
        assert_codes(&body(nothing), &[("#", "nothing_to_send")]);
    }
    for something in
        [json!({"body": "B"}), json!({"sound": "default"}), json!({"badge": 0}), json!({"silent": true})]
    {
        let mut more = json!({"title": null});
        more.as_object_mut().expect("an object").extend(something.as_object().expect("an object").clone());
        assert!(send(&body(more)).is_ok(), "{something}");
    }
    // What is faulty may be what is missing.
    assert_codes(
        &body(json!({"title": 1, "ttl": "29d"})),
        &[("#/title", "wrong_type"), ("#/ttl", "bad_ttl")],
    );
    assert_codes(
        &body(json!({"title": null, "ttl": "29d"})),
        &[("#", "nothing_to_send"), ("#/ttl", "bad_ttl")],
    );
    let supplied = json!({"title": null, "apns": {"payload": {"aps": {"alert": "A"}}}});
    assert!(send(&body(supplied)).is_ok());
}

#[test]
fn a_silent_notification_shows_nothing() {
    for (name, value) in
        [("title", json!("A")), ("body", json!("B")), ("sound", json!("s")), ("badge", json!(1))]
    {
        let more = json!({"title": null, "silent": true, name: value});
        assert_codes(&body(more), &[("#/silent", "silent_with_content")]);
    }
    assert!(send(&body(json!({"title": null, "silent": true, "data": {"a": 1}}))).is_ok());
    for visible in [
        json!({"apns": {"payload": {"aps": {"alert": "A"}}}}),
        json!({"apns": {"payload": {"aps": {"badge": 0}}}}),
        json!({"apns": {"headers": {"apns-push-type": "alert"}, "payload": {"aps": {"sound": "s"}}}}),
        json!({"fcm": {"notification": {"title": "A"}}}),
        json!({"fcm": {"android": {"notification": {"body": "B"}}}}),
        json!({"fcm": {"apns": {"payload": {"aps": {"alert": {"title": "A"}}}}}}),
    ] {
        let mut more = json!({"title": null, "silent": true});
        more.as_object_mut().expect("an object").extend(visible.as_object().expect("an object").clone());
        assert_codes(&body(more), &[("#/silent", "silent_with_content")]);
    }
    let quiet = json!({"title": null, "silent": true, "apns": {"payload": {"aps": {"category": "C", "alert": null}}}});
    assert!(send(&body(quiet)).is_ok());
}

#[test]
fn reserved_keys_in_data_are_reported() {
    for name in [
        "aps",
        "fcm_options",
        "pushpost",
        "from",
        "gcm",
        "message_type",
        "google",
        "google.c.a",
        "googleX",
        "gcm.x",
    ] {
        assert_codes(&body(json!({"data": {name: "1"}})), &[(&format!("#/data/{name}"), "reserved_key")]);
    }
    for name in ["Google", "gcmx", "from_user", "url"] {
        assert!(send(&body(json!({"data": {name: "1"}}))).is_ok(), "{name}");
    }
    assert_codes(&body(json!({"url": "a:b", "data": {"url": "c"}})), &[("#/data/url", "reserved_key")]);
}

#[test]
fn times_to_live_are_read_and_limited() {
    for (ttl, secs) in
        [(json!(0), 0), (json!(2_419_200), 2_419_200), (json!("90s"), 90), (json!("4w"), 2_419_200)]
    {
        assert_eq!(send(&body(json!({"ttl": ttl}))).expect("valid").ttl.as_secs(), secs);
    }
    for wrong in
        [json!(-1), json!(1.5), json!(2_419_201), json!("29d"), json!("60"), json!("1500ms"), json!("soon")]
    {
        assert_codes(&body(json!({"ttl": wrong})), &[("#/ttl", "bad_ttl")]);
    }
    assert_codes(&body(json!({"ttl": true})), &[("#/ttl", "wrong_type")]);
}

#[test]
fn impossible_values_are_reported() {
    for (at, more) in [
        ("#/image", json!({"image": "http://cdn.example.com/1.jpg"})),
        ("#/image", json!({"image": "https://"})),
        ("#/image", json!({"image": "nothing"})),
        ("#/priority", json!({"priority": "urgent"})),
        ("#/label", json!({"label": ""})),
        ("#/label", json!({"label": "a b"})),
        ("#/label", json!({"label": "x".repeat(51)})),
        ("#/metadata", json!({"metadata": {"a": "x".repeat(2048)}})),
        ("#/to/platforms", json!({"to": {"users": ["a"], "platforms": []}})),
        (
            "#/to/tokens/0/ref",
            json!({"to": {"tokens": [{"platform": "fcm", "token": "t", "ref": "x".repeat(129)}]}}),
        ),
        ("#/to/tokens/0/ref", json!({"to": {"tokens": [{"platform": "fcm", "token": "t", "ref": "\0"}]}})),
        ("#/to/tokens/0/kind", json!({"to": {"tokens": [{"platform": "apns", "token": "aa", "kind": "x"}]}})),
        (
            "#/to/tokens/0/kind",
            json!({"to": {"tokens": [{"platform": "fcm", "token": "t", "kind": "voip"}]}}),
        ),
        (
            "#/to/tokens/0/environment",
            json!({"to": {"tokens": [{"platform": "apns", "token": "aa", "environment": "x"}]}}),
        ),
        (
            "#/to/tokens/0/environment",
            json!({"to": {"tokens": [{"platform": "fcm", "token": "t", "environment": "sandbox"}]}}),
        ),
    ] {
        assert_codes(&body(more), &[(at, "bad_value")]);
    }
    let many: serde_json::Map<_, _> = (0..17).map(|n| (n.to_string(), json!("x"))).collect();
    assert_codes(&body(json!({"metadata": many})), &[("#/metadata", "bad_value")]);
    assert_codes(&body(json!({"metadata": {"a/b": 1}})), &[("#/metadata/a~1b", "wrong_type")]);
    assert_codes(&body(json!({"badge": 2_147_483_648_u64})), &[("#/badge", "out_of_range")]);
    assert_codes(&body(json!({"badge": -1})), &[("#/badge", "out_of_range")]);
}

#[test]
fn a_collapse_key_is_what_a_header_can_be() {
    let (longest, long) = ("x".repeat(64), "x".repeat(65));
    for wrong in ["", &long, "a\nb", "a\0", "a\u{7f}", "a\tb", "é", " a", "a "] {
        assert_codes(&body(json!({"collapse_key": wrong})), &[("#/collapse_key", "bad_header")]);
    }
    assert_eq!(faults(&body(json!({"collapse_key": long})))[0].facts["limit"], 64);
    for right in ["order-789", "a b", &longest] {
        assert!(send(&body(json!({"collapse_key": right}))).is_ok(), "{right}");
    }
}

#[test]
fn a_time_to_send_at_lies_between_an_hour_ago_and_a_year_ahead() {
    let read = |text: &str| send(&body(json!({"send_at": text}))).map(|submission| submission.send_at);
    assert_eq!(read("2026-12-01T10:00:00+01:00").expect("now"), SendTime::Past(at(NOW)));
    let later = "2026-12-24T18:00:00Z";
    assert_eq!(read(later).expect("later"), SendTime::Later(at(later)));
    for (text, limit) in [
        ("2026-12-01T07:59:59Z", Some(("minimum", "2026-12-01T08:00:00.000Z"))),
        ("2027-12-01T09:00:01Z", Some(("maximum", "2027-12-01T09:00:00.000Z"))),
        ("2026-12-24 at noon", None),
        ("2026-12-24T18:00:00", None),
    ] {
        let body = body(json!({"send_at": text}));
        assert_codes(&body, &[("#/send_at", "bad_send_at")]);
        let facts = &faults(&body)[0].facts;
        assert_eq!(facts.len(), usize::from(limit.is_some()), "{facts:?}");
        if let Some((name, value)) = limit {
            assert_eq!(facts[name], value, "{text}");
        }
    }
    assert_codes(&body(json!({"send_at": 1_796_115_600})), &[("#/send_at", "wrong_type")]);
}

#[test]
fn topics_are_a_list_and_all_is_true_or_false() {
    assert_codes(
        &body(json!({"to": {"topics": "news", "all": 1}})),
        &[("#/to/topics", "wrong_type"), ("#/to/all", "wrong_type")],
    );
}

#[test]
fn size_is_checked_for_every_provider_in_question() {
    let platforms = |to: Value| -> Vec<_> {
        let Err(ApiError::Invalid(faults)) = send(&body(json!({"to": to, "body": "x".repeat(5000)}))) else {
            return Vec::new();
        };
        assert!(faults.iter().all(|fault| fault.code.as_str() == "payload_too_large"));
        assert!(faults.iter().all(|fault| fault.facts["size"].as_u64() > fault.facts["limit"].as_u64()));
        faults.iter().map(|fault| fault.facts["platform"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(platforms(json!({"users": ["u"]})), ["apns", "fcm"]);
    assert_eq!(platforms(json!({"users": ["u"], "platforms": ["fcm"]})), ["fcm"]);
    assert_eq!(platforms(json!({"tokens": [{"platform": "apns", "token": "aa"}]})), ["apns"]);
    assert_eq!(platforms(json!({"users": []})), [""; 0]);
}

#[test]
fn a_problem_lists_every_fault_with_its_facts() {
    let faults = faults(r#"{"to":{"users":"u7"},"titel":"A","badge":"1"}"#);
    let document = json!(ApiError::Invalid(faults).problem().document(Some("req-1")));
    insta::assert_snapshot!(serde_json::to_string_pretty(&document).expect("plain"), @r##"
    {
      "type": "/docs/errors#invalid_request",
      "title": "The request is not well formed",
      "status": 400,
      "code": "invalid_request",
      "detail": "There are 3 faults in the request; `errors` lists them.",
      "request_id": "req-1",
      "errors": [
        {
          "pointer": "#/to/users",
          "code": "wrong_type",
          "detail": "this must be an array",
          "expected": "array"
        },
        {
          "pointer": "#/titel",
          "code": "unknown_field",
          "detail": "unknown field \"titel\"; did you mean \"title\"?",
          "suggestion": "title"
        },
        {
          "pointer": "#/badge",
          "code": "wrong_type",
          "detail": "this must be an integer",
          "expected": "integer"
        }
      ]
    }
    "##);
}
