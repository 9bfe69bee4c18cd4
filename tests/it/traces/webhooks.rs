//! Attempts to post to webhooks: a span of its own trace, with links to the notifications, and its context at the receiver.

use std::collections::BTreeSet;

use pushpost::runtime::Role;
use pushpost_testkit::collector::{SeenSpan, TestCollector};
use pushpost_testkit::json::fcm_targets;
use pushpost_testkit::request::{ApiRequest, SEND};
use pushpost_testkit::service::TestService;
use pushpost_testkit::webhook_receiver::{Reply, WebhookReceiver};
use serde_json::json;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Lists all spans with their attributes.
const DOCUMENT: &str = include_str!("../../../docs/traces.md");

async fn send(service: &TestService, flags: &str) -> String {
    let key = service.key("send").await;
    let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-{flags}");
    let body = json!({"to": {"tokens": fcm_targets("f", 1)}, "title": "Hi"});
    let answer =
        ApiRequest::post(SEND, &body).key(&key).header("traceparent", &traceparent).of(service).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = answer.body["id"].as_str().unwrap().to_owned();
    service.notifications().until_done(&id).await;
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_is_a_trace_of_its_own_that_links_to_the_notifications_it_tells_of() {
    let (collector, receiver) = (TestCollector::start().await, WebhookReceiver::start().await);
    receiver.reply(Reply::Status(503));
    let webhook = format!(
        "[{{name=\"backend\", url=\"{}\", secrets=[\"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"], types=[\"notification.done\"]}}]",
        receiver.url()
    );
    let service = TestService::builder()
        .config("TELEMETRY__OTLP_ENDPOINT", collector.url())
        .config("TELEMETRY__SAMPLE_RATIO", "0")
        .config("WEBHOOKS__ALLOW_NETWORKS", "[\"127.0.0.1\"]")
        .config("WEBHOOKS__RETRY_AFTER", "[\"20ms\"]")
        .config("APPS__SHOP__WEBHOOKS", &webhook)
        .node(Role::All)
        .build()
        .await;
    service.expect_log("webhook fails");
    let traced = send(&service, "01").await;
    receiver.until("the first attempt", |all| !all.is_empty()).await;
    receiver.reply(Reply::Status(200));
    let is_ok = |span: &SeenSpan| span.name == "webhook backend" && !span.is_error;
    let spans = collector.until("an attempt succeeded", |spans| spans.iter().any(is_ok)).await;
    let attempts: Vec<&SeenSpan> = spans.iter().filter(|span| span.name == "webhook backend").collect();
    let sent = spans.iter().find(|span| span.name == "send notification").unwrap();
    assert_eq!(sent.id, traced[traced.len() - 16..], "the id of the notification tells it");
    let posted = receiver.posted();
    let headers: BTreeSet<String> =
        posted.iter().map(|message| message.headers["traceparent"].clone()).collect();
    for attempt in &attempts {
        assert_eq!((attempt.kind.as_str(), attempt.parent.as_str()), ("CLIENT", ""));
        assert_ne!(attempt.trace, TRACE);
        assert_eq!(attempt.links, [(TRACE.to_owned(), sent.id.clone())]);
        assert!(headers.contains(&format!("00-{}-{}-03", attempt.trace, attempt.id)), "{headers:?}");
        assert!(attempt.began <= attempt.ended);
        let text = |name: &str| attempt.attributes[name].as_str().unwrap();
        assert_eq!(text("url.full"), format!("http://127.0.0.1:{}/REDACTED", receiver.port()));
        assert_eq!((text("pushpost.endpoint"), text("pushpost.app")), ("backend", "shop"));
        assert_eq!((text("http.request.method"), text("server.address")), ("POST", "127.0.0.1"));
        assert_eq!(attempt.attributes["server.port"], receiver.port());
        assert_eq!(attempt.attributes["messaging.batch.message_count"], 1);
        let (outcome, status) = if attempt.is_error { ("http_error", 503) } else { ("ok", 200) };
        assert_eq!(
            (text("pushpost.outcome"), &attempt.attributes["http.response.status_code"]),
            (outcome, &json!(status))
        );
        assert_eq!(attempt.attributes.contains_key("error.type"), attempt.is_error);
        for name in attempt.attributes.keys() {
            assert!(DOCUMENT.contains(&format!("`{name}`")), "{name} is not documented");
        }
    }
    assert!(attempts.iter().any(|attempt| attempt.is_error), "the first one too");

    let before = receiver.posted().len();
    send(&service, "00").await;
    let all = receiver.until("the other end", |all| all.len() > before).await;
    assert!(!all[before].headers.contains_key("traceparent"), "no notification of it is traced");
    service.stop().await;
    let secret = b"s3cret";
    assert!(!collector.posted().windows(secret.len()).any(|window| window == secret), "the URL's query");
}
