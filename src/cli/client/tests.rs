//! What the client takes as a URL and a key, and what it says of answers that are no success.

use std::process::ExitCode;

use http::header::{LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::failures::refusal;
use super::{ServiceAnswer, ServiceClient};

const BASE: &str = "http://push.example.com";

fn answer(status: u16, headers: &[(HeaderName, &'static str)], body: &str) -> ServiceAnswer {
    let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
    ServiceAnswer {
        status: StatusCode::from_u16(status).expect("a status"),
        headers: HeaderMap::from_iter(headers),
        body: body.to_owned().into(),
    }
}

fn problem(code: &str, detail: &str, more: Value) -> String {
    let mut document = json!({"code": code, "detail": detail, "request_id": "r1"});
    document.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    document.to_string()
}

#[test]
fn a_url_names_a_service_and_nothing_else() {
    for url in ["http://127.0.0.1:8080", "https://push.example.com/", "http://[::1]:8080/pushpost", ""] {
        assert!(ServiceClient::new(url, Some("k")).is_ok(), "{url}");
    }
    for url in [
        "push.example.com",
        "ftp://a",
        "http://",
        "http://u:hunter2@a",
        "http://a?x=hunter2",
        "http://a#hunter2",
        "/",
    ] {
        let failure = ServiceClient::new(url, Some("k")).expect_err(url);
        assert_eq!(failure.code(), ExitCode::from(64), "{url}");
        assert!(!failure.to_string().contains("hunter2"), "{failure}");
    }
}

#[test]
fn a_key_is_one_line_and_never_repeated() {
    assert!(ServiceClient::new(BASE, Some(" pushpost_sk_1\n")).is_ok());
    for key in [None, Some(""), Some(" \n"), Some("hunter2\nhunter2"), Some("hunter2\u{7f}")] {
        let failure = ServiceClient::new(BASE, key).expect_err("no key");
        assert_eq!(failure.code(), ExitCode::from(64));
        let text = failure.to_string();
        assert!(text.contains("PUSHPOST_KEY") && !text.contains("hunter2"), "{text}");
    }
    let client = ServiceClient::new(BASE, Some("hunter2")).expect("a key");
    assert!(!format!("{client:?}").contains("hunter2"), "{client:?}");
}

#[test]
fn a_refusal_says_what_is_wrong_and_what_to_do() {
    let faults = json!({"errors": [
        {"pointer": "#/titel", "code": "unknown_field", "detail": "unknown field \"titel\""},
        {"parameter": "limit", "code": "out_of_range"}
    ]});
    let lanes = json!({"supported": ["fcm"]});
    let cases = [
        (77, "refused: No key.", answer(401, &[], &problem("unauthenticated", "No key.", json!({})))),
        (77, "keys create --scope", answer(403, &[], &problem("missing_scope", "Needs admin.", json!({})))),
        (1, "server.internal_listen", answer(404, &[], &problem("not_found", "No such path.", json!({})))),
        (
            1,
            "error: No such lane; there are fcm.",
            answer(404, &[], &problem("not_found", "No such lane; there are fcm.", lanes)),
        ),
        (
            1,
            "\n  #/titel: unknown field \"titel\"\n  limit: out_of_range",
            answer(400, &[], &problem("invalid_request", "Two.", faults)),
        ),
        (1, "(request r1)", answer(500, &[], &problem("internal", "A fault.", json!({})))),
        (
            69,
            "try again in 2 s",
            answer(503, &[(RETRY_AFTER, "2")], &problem("unavailable", "Away.", json!({}))),
        ),
        (
            1,
            "try again in 7 s",
            answer(429, &[(RETRY_AFTER, "7")], &problem("rate_limited", "Too fast.", json!({}))),
        ),
        (69, "502", answer(502, &[], "<html>")),
        (1, "is not the API of Pushpost", answer(404, &[], "<html>")),
        (1, "location https://push.example.com", answer(301, &[(LOCATION, "https://push.example.com")], "")),
    ];
    for (code, said, answer) in cases {
        let failure = refusal(BASE, "/v1/admin/lanes", &answer);
        assert_eq!(failure.code(), ExitCode::from(code), "{failure}");
        assert!(failure.to_string().contains(said), "{failure}");
    }
    let lane = refusal(
        BASE,
        "/v1/admin/lanes",
        &answer(404, &[], &problem("not_found", "No.", json!({"supported": []}))),
    );
    assert!(!lane.to_string().contains("internal_listen"), "{lane}");
}
