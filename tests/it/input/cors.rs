//! Web pages that call the API.

use http::{HeaderMap, Method};
use pushpost_testkit::json::assert_problem;
use serde_json::json;

use pushpost_testkit::answer::Answer;
use pushpost_testkit::request::{ApiRequest, DEVICES, SEND, service_without_workers};
use pushpost_testkit::service::TestService;

const UNREGISTER: &str = "/v1/devices/unregister";
const PAGE: &str = "capacitor://localhost";
const STRANGER: &str = "https://stranger.example";

/// Names and values of the headers that a browser reads, in the order of their names.
fn cors(headers: &HeaderMap) -> Vec<String> {
    let of_cors = |name: &str| name.starts_with("access-control-") || name == "vary";
    let lines = headers.iter().filter(|(name, _)| of_cors(name.as_str()));
    let mut lines: Vec<_> =
        lines.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    lines
}

const READABLE: [&str; 3] = [
    "access-control-allow-origin: capacitor://localhost",
    "access-control-expose-headers: Request-Id, Retry-After",
    "vary: Origin",
];

async fn preflight(service: &TestService, path: &str, origin: &str, method: &str) -> Answer {
    let ask = ApiRequest::new(Method::OPTIONS, path).header("origin", origin);
    let ask = ask.header("access-control-request-method", method);
    ask.header("access-control-request-headers", "authorization,content-type").of(service).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_listed_pages_may_make_the_calls_of_an_app() {
    let listed = "capacitor://localhost, https://app.example.com";
    let service =
        service_without_workers(&[("SERVER__CORS_ORIGINS", listed), ("LIMITS__REGISTER_PER_MINUTE", "3")])
            .await;
    let (app, backend, admin) =
        (service.key("register").await, service.key("devices").await, service.key("admin").await);

    for (path, method) in [(DEVICES, "PUT"), (UNREGISTER, "POST")] {
        let answer = preflight(&service, path, PAGE, method).await;
        assert_eq!(answer.status, 204, "{answer:?}");
        assert!(answer.headers.contains_key("request-id"));
        let expected = [
            "access-control-allow-headers: Authorization, Content-Type, Pushpost-User-Token, Request-Id"
                .to_owned(),
            format!("access-control-allow-methods: {method}"),
            "access-control-allow-origin: capacitor://localhost".to_owned(),
            "access-control-max-age: 7200".to_owned(),
            "vary: Origin".to_owned(),
        ];
        assert_eq!(cors(&answer.headers), expected);
    }
    // Another origin, or one that is nearly listed, is told nothing.
    for origin in
        [STRANGER, "https://app.example.com:8443", "http://app.example.com", "null", "capacitor://localhost/"]
    {
        let answer = preflight(&service, DEVICES, origin, "PUT").await;
        assert_eq!(
            (answer.status.as_u16(), cors(&answer.headers)),
            (405, vec!["vary: Origin".to_owned()]),
            "{origin}"
        );
    }
    for (path, method) in [
        (DEVICES, "GET"),
        (DEVICES, "DELETE"),
        (UNREGISTER, "PUT"),
        (SEND, "POST"),
        ("/v1/devices/lookup", "POST"),
        // Paths of the dashboard become those of the API before they are routed.
        ("/dashboard/api/devices", "PUT"),
        ("/dashboard/api/devices/unregister", "POST"),
    ] {
        let answer = preflight(&service, path, PAGE, method).await;
        assert_eq!((answer.status.as_u16(), cors(&answer.headers)), (405, vec![]), "{method} {path}");
    }

    let phone = |n: u8| ApiRequest::put(DEVICES, &json!({"platform": "fcm", "token": format!("f{n}")}));
    let made = phone(1).key(&app).header("origin", PAGE).of(&service).await;
    assert_eq!((made.status.as_u16(), cors(&made.headers)), (201, READABLE.map(str::to_owned).into()));
    let made = phone(1).key(&app).header("origin", "https://app.example.com").of(&service).await;
    assert!(cors(&made.headers).contains(&"access-control-allow-origin: https://app.example.com".to_owned()));
    // Errors of every kind can be read.
    let invalid =
        ApiRequest::json(Method::PUT, DEVICES, "{").key(&app).header("origin", PAGE).of(&service).await;
    assert_problem(&invalid, 400, "invalid_request", &json!([{"code": "malformed_json"}]));
    let hasty = phone(2).key(&app).header("origin", PAGE).of(&service).await;
    assert_problem(&hasty, 429, "rate_limited", &json!([]));
    let stranger = phone(3).key("pushpost_pk_wrong").header("origin", PAGE).of(&service).await;
    assert_problem(&stranger, 401, "unauthenticated", &json!([]));
    let large = phone(3).key(&app).header("x", &"x".repeat(17_000)).header("origin", PAGE).of(&service).await;
    assert_problem(&large, 431, "headers_too_large", &json!([]));
    for answer in [invalid, hasty, stranger, large] {
        assert_eq!(cors(&answer.headers), READABLE, "{answer:?}");
    }

    // No page: nothing but that pages are told apart. Another key: nothing at all.
    let none: [&str; 0] = [];
    let unmarked = [
        (phone(4).key("pushpost_pk_wrong"), &["vary: Origin"][..]),
        (phone(4).key("pushpost_pk_wrong").header("origin", STRANGER), &["vary: Origin"]),
        (phone(4).key(&backend).header("origin", PAGE), &none),
        (phone(4).key(&admin).header("origin", PAGE), &none),
        (ApiRequest::get(DEVICES).key(&backend).header("origin", PAGE), &none),
        (ApiRequest::get(DEVICES).key(&app).header("origin", PAGE), &none),
        (ApiRequest::get("/healthz").header("origin", PAGE), &none),
        (ApiRequest::json(Method::PUT, "/dashboard/api/devices", "{}").header("origin", PAGE), &none),
    ];
    for (ask, expected) in unmarked {
        let answer = ask.of(&service).await;
        assert_eq!(cors(&answer.headers), expected, "{answer:?}");
        assert!(!answer.headers.contains_key("access-control-allow-credentials"));
    }
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_listed_origins_no_cors_header_is_sent() {
    let service = service_without_workers(&[]).await;
    let app = service.key("register").await;
    let asked = preflight(&service, DEVICES, PAGE, "PUT").await;
    assert_eq!((asked.status.as_u16(), cors(&asked.headers)), (405, vec![]));
    let phone =
        ApiRequest::put(DEVICES, &json!({"platform": "fcm", "token": "f1"})).key(&app).header("origin", PAGE);
    let made = phone.of(&service).await;
    assert_eq!((made.status.as_u16(), cors(&made.headers)), (201, vec![]));
    service.stop_undecided().await;
}
