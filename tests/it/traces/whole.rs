//! One push from the caller's span to the provider's answer: every span, the right parents, and nothing private.

use std::collections::BTreeMap;

use http::Method;
use pushpost::provider::fcm;
use pushpost::runtime::Role;
use pushpost_simulator::{Action, Provider, Rule};
use serde_json::{Value, json};

use pushpost_testkit::collector::{SeenSpan, TestCollector};
use pushpost_testkit::json::{apns_targets, fcm_targets};
use pushpost_testkit::processes::TestCluster;
use pushpost_testkit::request::{ApiRequest, SEND};
use pushpost_testkit::service::TestService;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Lists all spans with their attributes.
const DOCUMENT: &str = include_str!("../../../docs/traces.md");

/// The spans with this name.
fn named<'a>(spans: &'a [SeenSpan], name: &str) -> Vec<&'a SeenSpan> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn only<'a>(spans: &'a [SeenSpan], name: &str) -> &'a SeenSpan {
    let [only] = named(spans, name)[..] else { panic!("one {name} in {spans:#?}") };
    only
}

/// Asserts that a span has these attributes and no others. `null` stands for any value.
#[track_caller]
fn assert_attributes(span: &SeenSpan, expected: &Value) {
    let Value::Object(expected) = expected else { panic!("an object") };
    let shown: BTreeMap<&String, &Value> = span.attributes.iter().collect();
    let names: Vec<&&String> = shown.keys().collect();
    let mut wanted: Vec<&String> = expected.keys().collect();
    wanted.sort();
    assert_eq!(names, wanted.iter().collect::<Vec<_>>(), "{}", span.name);
    for (name, value) in expected.iter().filter(|(_, value)| !value.is_null()) {
        assert_eq!(shown[name], value, "{} of {}", name, span.name);
    }
}

/// How far two spans of one node may be apart from what they are: Postgres's clock is read anew with each heartbeat.
const CLOCK_STEP_NANOS: u64 = 100_000_000;

/// Asserts that every span is in the trace, has a parent in it, and does not begin before its parent.
fn assert_one_tree(spans: &[SeenSpan]) {
    let began: BTreeMap<&str, u64> = spans.iter().map(|span| (span.id.as_str(), span.began)).collect();
    assert_eq!(began.len(), spans.len(), "each id once");
    for span in spans {
        assert_eq!(span.trace, TRACE, "{}", span.name);
        assert_eq!(span.flags & 1, 1, "{}", span.name);
        if span.parent != CALLER {
            let parent = began.get(span.parent.as_str());
            let parent = parent.unwrap_or_else(|| panic!("the parent of {} is missing", span.name));
            assert!(*parent <= span.began + CLOCK_STEP_NANOS, "{} begins before its parent", span.name);
        }
        assert!(span.began <= span.ended, "{}", span.name);
        for name in span.attributes.keys() {
            assert!(DOCUMENT.contains(&format!("`{name}`")), "{name} of {} is not documented", span.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_another_node_retries_after_a_kill_is_one_trace() {
    let collector = TestCollector::start().await;
    let mut cluster = TestCluster::create(&[("retry_initial", "1h"), ("retry_max", "1h")]).await;
    cluster.variable("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url());
    cluster.variable("PUSHPOST__TELEMETRY__SAMPLE_RATIO", "0");
    cluster.simulator.add_rule(Rule::provider(Provider::Apns, Action::answer(503, "ServiceUnavailable")));
    let mut first = cluster.node(cluster.database.url()).await;
    let token = "ab".repeat(32);
    let body = json!({
        "to": {"tokens": [{"platform": "apns", "token": token}]}, "title": "Your secret title", "body": "Hidden words",
    });
    let request =
        cluster.http.post(first.url(SEND)).bearer_auth(cluster.full_key()).header("traceparent", TRACEPARENT);
    let accepted = request.header("request-id", "abc-1").json(&body).send().await.unwrap();
    assert_eq!(accepted.status(), 202);
    let answer: Value = accepted.json().await.unwrap();
    let id = answer["id"].as_str().unwrap();
    let is_settled = |spans: &[SeenSpan]| named(spans, "process shop/apns-production").len() == 1;
    collector.until("the first attempt is traced", is_settled).await;
    first.kill().await;
    cluster.simulator.clear_rules();

    let second = cluster.node(cluster.database.url()).await;
    sqlx::raw_sql("update jobs set due_at = now()").execute(&cluster.database.pool).await.unwrap();
    let is_accepted = async || cluster.counts(&second, id).await["accepted"] == 1;
    cluster.until("the other node retries", &[&second], is_accepted).await;
    let is_complete = |spans: &[SeenSpan]| named(spans, "process shop/apns-production").len() == 2;
    let spans = collector.until("the retry is traced", is_complete).await;
    assert_one_tree(&spans);
    assert_eq!(spans.len(), 8, "{spans:#?}");

    let request = only(&spans, "POST /v1/notifications");
    assert_eq!((request.kind.as_str(), request.parent.as_str()), ("SERVER", CALLER));
    let send = only(&spans, "send notification");
    assert_eq!((send.kind.as_str(), &send.parent), ("PRODUCER", &request.id));
    assert_attributes(
        send,
        &json!({
            "messaging.system": "pushpost", "messaging.operation.name": "send", "messaging.operation.type": "send",
            "messaging.message.id": id, "pushpost.batch": 1, "pushpost.targets": 1, "pushpost.app": "shop",
        }),
    );
    let mut processed = named(&spans, "process shop/apns-production");
    processed.sort_by_key(|span| span.began);
    let mut nodes = Vec::new();
    // A lane that has just started may claim its first job, because it does not know yet whether older jobs wait.
    let first_path = processed[0].attributes["pushpost.path"].clone();
    assert!(["handover", "claim"].iter().any(|path| first_path == *path), "{first_path}");
    for (at, (path, status)) in [(first_path, 503), (json!("claim"), 200)].into_iter().enumerate() {
        let process = processed[at];
        assert_eq!((process.kind.as_str(), &process.parent), ("CONSUMER", &send.id));
        assert_attributes(
            process,
            &json!({
                "messaging.system": "pushpost", "messaging.operation.name": "process", "messaging.operation.type": "process",
                "messaging.message.id": id, "messaging.destination.name": "shop/apns-production", "pushpost.path": path,
                "pushpost.attempt": at + 1, "pushpost.priority": "normal", "pushpost.wait_seconds": null, "pushpost.node": null,
                "pushpost.app": "shop",
            }),
        );
        nodes.push(process.attributes["pushpost.node"].to_string());
        assert_eq!(process.resource["service.instance.id"], json!(nodes[at]));
        let of_process = |name: &str| {
            let found = named(&spans, name).into_iter().find(|span| span.parent == process.id);
            found.unwrap_or_else(|| panic!("{name} of attempt {}", at + 1)).clone()
        };
        let post = of_process("POST");
        assert_eq!((post.kind.as_str(), post.is_error), ("CLIENT", status != 200));
        let url = post.attributes["url.full"].as_str().unwrap();
        assert!(url.starts_with("https://") && url.ends_with("/3/device/REDACTED"), "{url}");
        let mut expected = json!({
            "http.request.method": "POST", "server.address": null, "server.port": null, "url.full": null,
            "http.response.status_code": status, "pushpost.outcome": "accepted", "pushpost.device": null,
            "pushpost.app": "shop",
        });
        if status != 200 {
            expected["pushpost.outcome"] = json!("retry");
            expected["error.type"] = json!("ServiceUnavailable");
        }
        assert_attributes(&post, &expected);
        assert!(post.attributes["pushpost.device"].as_str().unwrap().starts_with("dev_"));
        let settle = of_process("settle shop/apns-production");
        assert_eq!(settle.kind, "CLIENT");
        assert_attributes(
            &settle,
            &json!({
                "messaging.system": "pushpost", "messaging.operation.name": "settle", "messaging.operation.type": "settle",
                "messaging.destination.name": "shop/apns-production", "pushpost.batch": 1, "pushpost.app": "shop",
            }),
        );
    }
    assert_ne!(nodes[0], nodes[1], "two nodes");

    let posted = collector.posted();
    for private in [token.as_str(), "secret title", "Hidden words", cluster.full_key()] {
        let is_in = posted.windows(private.len()).any(|window| window == private.as_bytes());
        assert!(!is_in, "{private} is in a span");
    }
    let log = first.log();
    assert!(log.contains(&format!("\"trace_id\":\"{TRACE}\"")), "the line of the attempt names the trace");
}

fn traced(collector: &TestCollector) -> pushpost_testkit::service::TestServiceBuilder {
    TestService::builder()
        .config("TELEMETRY__OTLP_ENDPOINT", collector.url())
        .config("TELEMETRY__SAMPLE_RATIO", "0")
}

async fn send(service: &TestService, body: &Value) -> String {
    let key = service.key("send").await;
    let answer = ApiRequest::post(SEND, body).key(&key).header("traceparent", TRACEPARENT).of(service).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.body["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broadcast_has_a_span_for_each_page_and_job_and_for_twenty_failed_attempts_of_a_job() {
    const DEVICES: usize = 40;
    let collector = TestCollector::start().await;
    let service = traced(&collector).node(Role::All).build().await;
    for target in fcm_targets("f", DEVICES) {
        let answer = service.put("/v1/devices", target).await;
        assert!(answer.status.is_success(), "{answer:?}");
    }
    let unregistered = Action::fcm(pushpost_simulator::FcmFault::Unregistered);
    service.rule(Rule::provider(Provider::Fcm, unregistered));
    let id = send(&service, &json!({"to": {"all": true}, "title": "Hi"})).await;
    service.notifications().until_done(&id).await;
    let is_processed = |spans: &[SeenSpan]| named(spans, "process shop/fcm").len() == 1;
    let spans = collector.until("the job is traced", is_processed).await;
    assert_one_tree(&spans);
    let send = only(&spans, "send notification");
    assert!(!send.attributes.contains_key("pushpost.targets"), "they are not found yet");
    let page = only(&spans, "expand audience");
    assert_eq!((page.kind.as_str(), &page.parent), ("INTERNAL", &send.id));
    assert_attributes(
        page,
        &json!({"pushpost.page": 1, "pushpost.targets": DEVICES, "pushpost.app": "shop"}),
    );
    let process = only(&spans, "process shop/fcm");
    assert_eq!(process.parent, send.id);
    assert_eq!(process.attributes["messaging.batch.message_count"], DEVICES);
    assert_eq!(process.attributes["pushpost.path"], "claim");
    let posts = named(&spans, "POST");
    assert_eq!(posts.len(), 20, "of 40 that were not accepted");
    for post in posts {
        assert_eq!(post.parent, process.id);
        assert!(post.attributes["url.full"].as_str().unwrap().ends_with("/v1/projects/shop-1/messages:send"));
        assert_eq!(post.attributes["pushpost.outcome"], "token_dead");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduled_notification_is_in_the_trace_of_its_request() {
    let collector = TestCollector::start().await;
    let service = traced(&collector).node(Role::All).build().await;
    let targets = apns_targets("a", 2);
    let pattern =
        "select to_char((now() + interval '200 days') at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')";
    let send_at: String = sqlx::query_scalar(pattern).fetch_one(&service.database.pool).await.unwrap();
    let id = send(&service, &json!({"to": {"tokens": targets}, "title": "Hi", "send_at": send_at})).await;
    let traced: i64 = sqlx::query_scalar("select count(*) from fan_outs where octet_length(trace) = 25")
        .fetch_one(&service.database.pool)
        .await
        .unwrap();
    assert_eq!(traced, 1);
    let set = "expires_at = now() + (expires_at - due_at), due_at = now()";
    let forward = format!("with forwarded as (update fan_outs set {set}) update notifications set {set}");
    assert!(service.database.execute(&forward).await > 0);
    let is_processed = |spans: &[SeenSpan]| named(spans, "process shop/apns-production").len() == 1;
    let spans = collector.until("the job is traced", is_processed).await;
    assert_one_tree(&spans);
    let page = only(&spans, "expand audience");
    assert_attributes(page, &json!({"pushpost.page": 0, "pushpost.targets": 2, "pushpost.app": "shop"}));
    assert_eq!(page.parent, only(&spans, "send notification").id);
    assert_eq!(named(&spans, "POST").len(), 2, "few targets: each attempt has a span");
    service.notifications().until_done(&id).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_accepted_attempt_has_a_span_up_to_twenty_targets() {
    let collector = TestCollector::start().await;
    let service = traced(&collector).node(Role::All).build().await;
    for (count, spans_of_attempts) in [(20, 20), (21, 0)] {
        let name = format!("t{count}-");
        let id = send(&service, &json!({"to": {"tokens": fcm_targets(&name, count)}, "title": "Hi"})).await;
        service.notifications().until_done(&id).await;
        let is_it = |span: &&SeenSpan| span.attributes.get("messaging.message.id") == Some(&json!(id));
        let is_processed = |spans: &[SeenSpan]| spans.iter().filter(is_it).count() == 2;
        let spans = collector.until("the job is traced", is_processed).await;
        let process = spans.iter().filter(is_it).find(|span| span.kind == "CONSUMER").unwrap();
        let posts = spans.iter().filter(|span| span.name == "POST" && span.parent == process.id);
        assert_eq!(posts.count(), spans_of_attempts, "{count} targets");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notifications_of_a_batch_have_a_span_each() {
    let collector = TestCollector::start().await;
    let service = traced(&collector).node(Role::Api).build().await;
    let key = service.key("send").await;
    let item = |token: &str| json!({"to": {"tokens": [{"platform": "fcm", "token": token}]}, "title": "Hi"});
    let batch = json!([item("f1"), item("f2"), item("f3")]);
    let request =
        ApiRequest::post("/v1/notifications/batch", &batch).key(&key).header("traceparent", TRACEPARENT);
    let answer = request.of(&service).await;
    assert!(answer.status.is_success(), "{answer:?}");
    let spans = collector.until("all are traced", |spans| named(spans, "send notification").len() == 3).await;
    let request = only(&spans, "POST /v1/notifications/batch");
    let sends = named(&spans, "send notification");
    assert!(sends.iter().all(|send| send.parent == request.id && send.attributes["pushpost.batch"] == 3));
    assert!(
        sends.iter().all(|send| (send.began, send.ended) == (sends[0].began, sends[0].ended)),
        "one COMMIT"
    );
    service.stop_undecided().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_stored_of_what_is_not_traced() {
    let collector = TestCollector::start().await;
    let service = traced(&collector).node(Role::Api).build().await;
    let to = json!({"to": {"tokens": fcm_targets("f", 1)}, "title": "Hi"});
    service.notifications().send(to.clone()).await;
    let stored: Vec<bool> =
        sqlx::query_scalar("select trace is null from jobs").fetch_all(&service.database.pool).await.unwrap();
    assert_eq!(stored, [true]);
    service.stop_undecided().await;
    let off = TestService::builder().node(Role::Api).build().await;
    send(&off, &to).await;
    let stored: Vec<bool> =
        sqlx::query_scalar("select trace is null from jobs").fetch_all(&off.database.pool).await.unwrap();
    assert_eq!(stored, [true], "a traceparent means nothing while tracing is off");
    let lane = fcm::LANE.to_string();
    let lanes = off.by_admin(Method::GET, "/v1/admin/lanes").await;
    assert!(lanes.body.to_string().contains(&lane));
    off.stop_undecided().await;
    assert_eq!(collector.spans(), [], "nothing is sent");
}
