//! Which requests are traced, in which trace, and with which attributes.

use http::Method;
use pushpost::runtime::Role;
use serde_json::{Value, json};

use pushpost_testkit::collector::{SeenSpan, TestCollector};
use pushpost_testkit::request::{ApiRequest, DEVICES, SEND};
use pushpost_testkit::service::TestService;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// A node that answers requests only.
async fn service(collector: &TestCollector, sample_ratio: &str) -> TestService {
    TestService::builder()
        .config("TELEMETRY__OTLP_ENDPOINT", collector.url())
        .config("TELEMETRY__OTLP_HEADERS", "x-api-key=abc")
        .config("TELEMETRY__SAMPLE_RATIO", sample_ratio)
        .node(Role::Api)
        .build()
        .await
}

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

/// The span of the request with this id.
async fn span_of(collector: &TestCollector, id: &str) -> SeenSpan {
    let is_it = |span: &SeenSpan| span.attributes.get("pushpost.request_id") == Some(&json!(id));
    let spans = collector.until(id, |spans| spans.iter().any(is_it)).await;
    spans.into_iter().find(is_it).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sampled_traceparent_of_a_backend_is_continued() {
    let collector = TestCollector::start().await;
    let service = service(&collector, "0").await;
    let key = service.key("send").await;
    let to = json!({"to": {"users": ["ann"]}, "title": "Hi"});
    let request = |id: &str| ApiRequest::post(SEND, &to).key(&key).header("request-id", id);
    let unsampled = request("unsampled").header("traceparent", &traceparent("00"));
    for unrecorded in [
        request("without"),
        unsampled,
        request("malformed").header("traceparent", "00-nonsense-01"),
        request("twice").header("traceparent", &traceparent("01")).header("traceparent", &traceparent("01")),
    ] {
        assert_eq!(unrecorded.of(&service).await.status, 202);
    }
    let sampled = request("sampled").header("traceparent", &traceparent("01")).header("tracestate", "a=b");
    assert_eq!(sampled.of(&service).await.status, 202);

    let span = span_of(&collector, "sampled").await;
    assert_eq!((span.trace.as_str(), span.parent.as_str()), (TRACE, CALLER));
    assert_eq!((span.name.as_str(), span.kind.as_str()), ("POST /v1/notifications", "SERVER"));
    assert_eq!(span.flags & 1, 1);
    assert!(span.began <= span.ended && !span.is_error);
    let expected = json!({
        "http.request.method": "POST", "http.route": SEND, "http.response.status_code": 202, "url.scheme": "http",
        "url.path": SEND, "pushpost.request_id": "sampled", "pushpost.app": "shop",
    });
    assert_eq!(json!(span.attributes), expected);
    let resource = &span.resource;
    assert_eq!(resource["service.name"], "pushpost");
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    assert!(
        resource["service.instance.id"].as_str().is_some_and(|id| id.parse::<i32>().is_ok()),
        "{resource:?}"
    );
    assert_eq!(collector.headers()["x-api-key"], "abc");
    let requests = collector.spans().into_iter().filter(|span| span.kind == "SERVER");
    assert_eq!(requests.count(), 1, "the others are not recorded");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_traceparent_of_a_publishable_key_is_ignored() {
    let collector = TestCollector::start().await;
    let service = service(&collector, "1").await;
    let (phone, backend) = (service.key("register").await, service.key("devices").await);
    let device = |token: &str| json!({"platform": "fcm", "token": token});
    let register = |key: &str, token: &str, id: &str| {
        let request = ApiRequest::json(Method::PUT, DEVICES, device(token).to_string());
        request.key(key).header("request-id", id).header("traceparent", &traceparent("01"))
    };
    assert_eq!(register(&phone, "f1", "phone").of(&service).await.status, 201);
    assert_eq!(register(&backend, "f2", "backend").of(&service).await.status, 201);
    let unsampled = ApiRequest::get("/v1/devices/dev_x").key(&backend).header("request-id", "unsampled");
    assert_eq!(unsampled.header("traceparent", &traceparent("00")).of(&service).await.status, 404);
    let unknown = ApiRequest::get("/v1/devices/dev_x").key("no key").header("request-id", "unknown");
    assert_eq!(unknown.header("traceparent", &traceparent("01")).of(&service).await.status, 401);

    let of_phone = span_of(&collector, "phone").await;
    assert_ne!(of_phone.trace, TRACE);
    assert_eq!(of_phone.parent, "", "it begins a trace of its own");
    let of_unknown = span_of(&collector, "unknown").await;
    assert_eq!((of_unknown.trace == TRACE, of_unknown.parent.as_str()), (false, ""));
    assert_eq!(of_unknown.attributes.get("pushpost.app"), None::<&Value>);
    for id in ["backend", "unsampled"] {
        let span = span_of(&collector, id).await;
        assert_eq!((span.trace.as_str(), span.parent.as_str()), (TRACE, CALLER), "{id}");
    }
    let health = ApiRequest::get("/healthz").header("request-id", "health").of(&service).await;
    assert_eq!(health.status, 200);
    service.stop().await;
    let spans = collector.spans();
    assert!(
        spans.iter().all(|span| span.attributes["http.route"] != "/healthz"),
        "the stop exports the rest"
    );
    let posted = collector.posted();
    let has = |text: &str| posted.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("/v1/devices/{id}") && !has("dev_x"), "paths are patterns");
    assert!(!has(&phone) && !has(&backend), "no key");
}
