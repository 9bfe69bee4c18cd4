//! What an import accepts and what it refuses: line by line, and as a whole.

use pushpost_testkit::json::assert_has;
use std::convert::Infallible;

use axum::body::Body;
use futures_util::stream;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::{Faults, assert_imported, device, errors, fcm, fcm_with, lookup, ndjson};
use pushpost_testkit::answer::Answer;
use pushpost_testkit::api::TestApi;

/// Most bytes of a line.
const LINE_MAX: usize = 256 << 10;

fn fault(pointer: &str, code: &str) -> Faults {
    vec![(pointer.to_owned(), code.to_owned())]
}

#[tokio::test]
async fn an_import_is_idempotent() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let body = ndjson(&[
        json!({"platform": "apns", "token": "AB".repeat(32), "environment": "sandbox", "kind": "voip"}),
        fcm_with(
            "f1",
            json!({"user": "u1", "topics": ["news", "team:42"], "locale": "de_DE",
            "timezone": "europe/berlin", "app_version": "1.2", "registered_at": "2025-03-01T12:00:00.5Z"}),
        ),
        fcm("f2"),
    ]);
    assert_imported(&backend.import("", body.clone()).await, 3, 0);
    let apns = json!({"platform": "apns", "token": "ab".repeat(32)});
    let tokens = json!({"tokens": [apns, fcm("f1"), fcm("f2")]});
    let listed = backend.post("/v1/devices/lookup", tokens.clone()).await.body;
    let expected = json!({"items": [
        {"platform": "apns", "token": "ab".repeat(32), "environment": "sandbox", "kind": "voip", "user": null,
         "source": "import", "registered_at": null, "created_at": "<time>", "status": "active", "topics": []},
        {"platform": "fcm", "token": "f1", "environment": null, "kind": "alert", "user": "u1",
         "topics": ["news", "team:42"], "locale": "de-DE", "timezone": "Europe/Berlin", "app_version": "1.2",
         "source": "import", "registered_at": "2025-03-01T12:00:00.500Z", "status": "active"},
        {"token": "f2", "source": "import", "registered_at": null}
    ]});
    assert_has(&listed, &expected);
    let rows = "select string_agg(xmin::text || d::text, ' ' order by device_id) from devices d";
    let before: String = sqlx::query_scalar(rows).fetch_one(&service.database.pool).await.unwrap();
    assert_imported(&backend.import("?on_error=stop", body).await, 0, 3);
    let after: String = sqlx::query_scalar(rows).fetch_one(&service.database.pool).await.unwrap();
    assert_eq!(after, before, "not even written again");
    assert_eq!(backend.post("/v1/devices/lookup", tokens).await.body, listed);
}

#[tokio::test]
async fn bad_lines_are_reported_by_number_and_the_others_imported() {
    let service = TestApi::start().await;
    let backend = service.client("admin").await;
    let lines: Vec<Vec<u8>> = vec![
        fcm("f1").to_string().into(),
        b"".to_vec(),
        json!({"platform": "hms", "token": "x", "usr": "u"}).to_string().into(),
        b" \t ".to_vec(),
        b"{\"platform\":\"fcm\",\"token\":\"f\xff\"}".to_vec(),
        b"{\"platform\":\"fcm\",".to_vec(),
        b"[]".to_vec(),
        b"{\"platform\":\"fcm\",\"token\":\"f9\",\"token\":\"f9\"}".to_vec(),
        fcm_with("f2", json!({"environment": "production"})).to_string().into(),
        fcm_with("f3", json!({"registered_at": "2999-01-01T00:00:00Z"})).to_string().into(),
        json!({"platform": "fcm", "token": "f4", "app_version": "x".repeat(LINE_MAX)}).to_string().into(),
        // A last line without an end.
        fcm("f5").to_string().into(),
    ];
    let answer = backend.import("?on_error=skip", lines.join(&b'\n')).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let counts = json!({"lines": 10, "created": 2, "updated": 0, "failed": 8, "stopped_at": null});
    assert_has(&answer.body, &counts);
    let invalid = |line, faults: &[(&str, &str)]| {
        let faults = faults.iter().map(|(pointer, code)| ((*pointer).to_owned(), (*code).to_owned()));
        (line, 400, "invalid_request".to_owned(), faults.collect::<Faults>())
    };
    let meaning = |line, faults| (line, 422, "unprocessable".to_owned(), faults);
    let expected = vec![
        invalid(3, &[("#/platform", "unsupported_platform"), ("#/usr", "unknown_field")]),
        invalid(5, &[("#", "malformed_json")]),
        invalid(6, &[("#", "malformed_json")]),
        invalid(7, &[("#", "wrong_type")]),
        invalid(8, &[("#/token", "duplicate_field")]),
        meaning(9, fault("#/environment", "bad_value")),
        meaning(10, fault("#/registered_at", "bad_value")),
        (11, 413, "line_too_large".to_owned(), vec![]),
    ];
    assert_eq!(errors(&answer), expected);
    let problems = &answer.body["errors"];
    assert_eq!(problems[0]["problem"]["errors"][1]["suggestion"], "user");
    assert_eq!(problems[7]["problem"]["limit"], LINE_MAX);
    let known = lookup(&backend, &["f1", "f2", "f3", "f4", "f5", "f9"]).await;
    let known: Vec<_> = known.iter().map(|device| &device["token"]).collect();
    assert_eq!(json!(known), json!(["f1", null, null, null, "f5", null]));
}

#[tokio::test]
async fn on_error_stop_ends_at_the_first_failure_and_keeps_earlier_lines() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let future = json!({"registered_at": "2999-01-01T00:00:00Z"});
    for (bad, status) in [(json!({"platform": "fcm"}), 400), (fcm_with("f3", future), 422)] {
        let lines = [fcm("f1"), fcm("f2"), bad, fcm("f4"), json!(1)];
        let answer = backend.import("?on_error=stop", ndjson(&lines)).await;
        assert_eq!((answer.status.as_u16(), &answer.body["stopped_at"]), (200, &json!(3)), "{answer:?}");
        assert_has(&answer.body, &json!({"lines": 3, "failed": 1}));
        let errors = errors(&answer);
        assert_eq!(errors.iter().map(|error| (error.0, error.1)).collect::<Vec<_>>(), [(3, status)]);
        let known = lookup(&backend, &["f1", "f2", "f3", "f4"]).await;
        assert_eq!(known.iter().filter(|device| !device.is_null()).count(), 2);
    }
}

#[tokio::test]
async fn on_error_stop_reads_no_further() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    // A service that waited for more would wait for ever.
    let begun = stream::iter([Ok::<_, Infallible>("{}\n")]);
    let body = Body::from_stream(futures_util::StreamExt::chain(begun, stream::pending()));
    let answer = backend.import("?on_error=stop", body).await;
    assert_has(&answer.body, &json!({"lines": 1, "failed": 1, "stopped_at": 1}));
}

#[tokio::test]
async fn lines_are_imported_before_the_body_ends() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let (more, rest) = tokio::sync::oneshot::channel::<()>();
    let begun = stream::iter([Ok::<_, Infallible>(format!("{}\n", fcm("f1")))]);
    let end = stream::once(async {
        rest.await.unwrap();
        Ok(fcm("f2").to_string())
    });
    let body = Body::from_stream(futures_util::StreamExt::chain(begun, end));
    let watch = async {
        while device(&backend, "f1").await.is_null() {
            tokio::task::yield_now().await;
        }
        more.send(()).unwrap();
    };
    let (answer, ()) = tokio::join!(backend.import("", body), watch);
    assert_imported(&answer, 2, 0);
}

#[tokio::test]
async fn a_broken_body_keeps_earlier_lines_and_says_where_to_go_on() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let pieces =
        [Ok(format!("{}\n?\n{}\n{{\"platf", fcm("f1"), fcm("f2"))), Err(std::io::Error::other("gone"))];
    let answer = backend.import("", Body::from_stream(stream::iter(pieces))).await;
    assert_eq!((answer.status.as_u16(), &answer.body["code"]), (400, &json!("invalid_request")));
    let import = json!({"lines": 3, "created": 2, "failed": 1, "stopped_at": 4, "errors": [{"line": 2}]});
    assert_has(&answer.body["import"], &import);
    assert!(lookup(&backend, &["f1", "f2"]).await.iter().all(Value::is_object));
}

#[tokio::test]
async fn an_import_may_be_large_and_reports_only_the_first_errors() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    // The service takes bodies of 1 MiB.
    let lines = (0..2_500).map(|n| fcm_with(&format!("f{n}"), json!({"user": format!("u{n}")})));
    let right: String = lines.map(|line| format!("{line}{}\n", " ".repeat(1_000))).collect();
    assert!(right.len() > 2 << 20);
    assert_imported(&backend.import("", right.clone()).await, 2_500, 0);
    let wrong = "{}\n".repeat(1_234);
    let answer = backend.import("", format!("{wrong}{right}{wrong}")).await;
    assert_has(&answer.body, &json!({"lines": 4_968, "created": 0, "updated": 2_500, "failed": 2_468}));
    let lines: Vec<_> = errors(&answer).into_iter().map(|error| error.0).collect();
    assert_eq!(lines, (1..=1_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_empty_body_imports_nothing() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    for body in ["", "\n", "\r\n\r\n", "\u{feff}"] {
        assert_imported(&backend.import("", body).await, 0, 0);
    }
    assert_imported(&backend.import("", format!("\u{feff}{}\r\n", fcm("f1"))).await, 1, 0);
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, code: &str, errors: &[(&str, &str)]) {
    assert_eq!((answer.status.as_u16(), &answer.body["code"]), (status, &json!(code)), "{answer:?}");
    let found = answer.body["errors"].as_array().into_iter().flatten();
    let found: Vec<_> = found.map(|error| (&error["parameter"], &error["code"])).collect();
    assert_eq!(json!(found), json!(errors));
}

#[tokio::test]
async fn a_request_that_is_no_import_is_refused_as_a_whole() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let line = fcm("f1").to_string();
    for scopes in ["register", "send,read"] {
        let stranger = service.client(scopes).await;
        assert_refused(&stranger.import("", line.clone()).await, 403, "missing_scope", &[]);
    }
    for (query, name, code) in [
        ("?on_eror=stop", "on_eror", "unknown_parameter"),
        ("?on_error=halt", "on_error", "out_of_range"),
        ("?on_error=skip&on_error=stop", "on_error", "out_of_range"),
    ] {
        let answer = backend.import(query, line.clone()).await;
        assert_refused(&answer, 400, "invalid_request", &[(name, code)]);
    }
    assert_eq!(backend.import("?on_eror=stop", "").await.body["errors"][0]["suggestion"], "on_error");
    for media_type in ["application/json", "text/plain", "application/x-ndjson-seq", ""] {
        let mut headers = HeaderMap::new();
        if !media_type.is_empty() {
            headers.insert("content-type", media_type.parse().unwrap());
        }
        let answer = backend.send(Method::POST, "/v1/devices/import", headers, line.clone().into()).await;
        assert_refused(&answer, 415, "unsupported_media_type", &[]);
        assert!(answer.body["detail"].as_str().unwrap().contains("application/x-ndjson"));
    }
    let mut compressed = HeaderMap::new();
    compressed.insert("content-type", "application/x-ndjson".parse().unwrap());
    compressed.insert("content-encoding", "gzip".parse().unwrap());
    let answer = backend.send(Method::POST, "/v1/devices/import", compressed, line.clone().into()).await;
    assert_refused(&answer, 415, "unsupported_media_type", &[]);
    assert_eq!(backend.get("/v1/devices/import").await.status, 405);
    assert_eq!(backend.get("/v1/devices").await.body["items"], json!([]));

    let mut with_charset = HeaderMap::new();
    with_charset.insert("content-type", "Application/X-NDJSON; charset=utf-8".parse().unwrap());
    let answer = backend.send(Method::POST, "/v1/devices/import", with_charset, line.into()).await;
    assert_imported(&answer, 1, 0);
}

#[tokio::test]
async fn no_answer_repeats_a_token() {
    let service = TestApi::start().await;
    let backend = service.client("devices").await;
    let token = "5ec7e7".repeat(10);
    let lines = [
        json!({"platform": "apns", "token": format!("{token}x")}),
        json!({&token: 1, "platform": "fcm", "token": token}),
        json!({"platform": "fcm", "token": token, "replaces": format!("{token} ")}),
        json!({"platform": "fcm", "token": token, "registered_at": token}),
        json!(token),
    ];
    let answer = backend.import("", ndjson(&lines)).await;
    assert_has(&answer.body, &json!({"failed": 4, "created": 1, "ignored": 1}));
    assert!(!answer.body.to_string().contains(&token), "{}", answer.body);
}
