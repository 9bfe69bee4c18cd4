//! The page that shows a trace: found from what is answered about a notification, also after its jobs are gone.

use pushpost::runtime::Role;
use serde_json::{Value, json};

use pushpost_testkit::collector::TestCollector;
use pushpost_testkit::json::fcm_targets;
use pushpost_testkit::request::{ApiRequest, SEND};
use pushpost_testkit::service::TestService;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const LINK: &str = "https://traces.example/4bf92f3577b34da6a3ce929d0e0e4736?from=pushpost";

async fn service(endpoint: Option<&str>) -> TestService {
    let builder = TestService::builder()
        .config("TELEMETRY__SAMPLE_RATIO", "0")
        .config("TELEMETRY__TRACE_URL", "https://traces.example/{trace_id}?from=pushpost");
    let builder = match endpoint {
        Some(url) => builder.config("TELEMETRY__OTLP_ENDPOINT", url),
        None => builder,
    };
    builder.node(Role::All).build().await
}

/// Sends with a `traceparent` of these flags, and with an idempotency key if there is one.
async fn send(service: &TestService, to: Value, flags: &str, idempotency_key: Option<&str>) -> String {
    let key = service.key("send").await;
    let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-{flags}");
    let body = json!({"to": to, "title": "Hi"});
    let mut request = ApiRequest::post(SEND, &body).key(&key).header("traceparent", &traceparent);
    if let Some(idempotency_key) = idempotency_key {
        request = request.header("idempotency-key", idempotency_key);
    }
    let answer = request.of(service).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.body["id"].as_str().unwrap().to_owned()
}

/// What the answers about a notification that has ended say.
async fn links(service: &TestService, id: &str) -> [Value; 3] {
    service.notifications().until_done(id).await;
    service.database.until_count("select count(*) from jobs", 0).await;
    let why = service.get(&format!("/v1/notifications/{id}/why")).await.body;
    let list = service.get("/v1/notifications").await.body;
    let item = list["items"].as_array().unwrap().iter().find(|item| item["id"] == id).unwrap().clone();
    let status = service.get(&format!("/v1/notifications/{id}")).await.body;
    [why, item, status].map(|answer| answer.get("trace_url").expect("always there").clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_traced_notification_links_to_its_trace_after_its_jobs_are_gone() {
    let collector = TestCollector::start().await;
    let service = service(Some(collector.url())).await;
    let tokens = |name: &str| json!({"tokens": fcm_targets(name, 1)});
    let unsampled = send(&service, tokens("f"), "00", None).await;
    let direct = send(&service, tokens("f"), "01", None).await;
    let keyed = send(&service, tokens("f"), "01", Some("k1")).await;
    service.devices().register(json!({"platform": "fcm", "token": "f1", "user": "u1"})).await;
    let broadcast = send(&service, json!({"all": true}), "01", None).await;
    for id in [direct, keyed, broadcast] {
        assert_eq!(links(&service, &id).await, [LINK; 3].map(Value::from), "{id}");
    }
    assert_eq!(links(&service, &unsampled).await, [Value::Null, Value::Null, Value::Null]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_kept_of_a_trace_while_traces_are_off() {
    let service = service(None).await;
    let id = send(&service, json!({"tokens": fcm_targets("f", 1)}), "01", None).await;
    assert_eq!(links(&service, &id).await, [Value::Null, Value::Null, Value::Null]);
    let kept = "select count(*) from notifications where trace_id is not null";
    assert_eq!(service.database.count(kept).await, 0);
    service.stop().await;
}
