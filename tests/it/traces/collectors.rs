//! Collectors that refuse, hang, or are away: spans are dropped and counted, and nothing waits.

use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use http::Method;
use pushpost::domain::TraceContext;
use pushpost::telemetry::trace::{RequestSpan, SpanCounts, TraceExporter, TraceSettings, Tracer};
use tokio::time::{Instant, timeout};

use pushpost_testkit::collector::{Behaviour, TestCollector};
use pushpost_testkit::wait::{self, WAIT_MAX};

/// More spans than the queue and a post hold.
const MANY: u64 = 20_000;

/// A tracer with its counts.
struct Started {
    tracer: Tracer,
    exporter: TraceExporter,
    counts: SpanCounts,
}

fn start(url: &str) -> Started {
    let counts = SpanCounts::default();
    let settings = TraceSettings {
        endpoint: format!("{url}/v1/traces").parse().unwrap(),
        headers: Vec::new(),
        timeout: Duration::from_millis(200),
        sample_ratio: 1.0,
        resource: Vec::new(),
        instance: Arc::new(|| "1".to_owned()),
        tls: None,
        clock: Arc::new(|_| DateTime::UNIX_EPOCH),
        counts: counts.clone(),
    };
    let (tracer, exporter) = Tracer::start(settings).unwrap();
    Started { tracer, exporter, counts }
}

fn write(tracer: &Tracer, count: u64) {
    for _ in 0..count {
        tracer.write(RequestSpan {
            context: TraceContext::new_root(),
            caller: None,
            method: &Method::GET,
            route: "/v1/x",
            status: 200,
            request_id: None,
            app: None,
            began: Instant::now(),
            ended: Instant::now(),
        });
    }
}

/// Exported and dropped spans.
fn counted(counts: &SpanCounts) -> (u64, u64) {
    (counts.exported.get(), counts.dropped.get())
}

async fn until_counted(counts: &SpanCounts, spans: u64) -> (u64, u64) {
    wait::until("all spans are counted", async || {
        let (exported, dropped) = counted(counts);
        exported + dropped == spans
    })
    .await;
    counted(counts)
}

async fn shut_down(exporter: TraceExporter) {
    timeout(WAIT_MAX, exporter.shutdown()).await.expect("the shutdown is bounded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_at_the_shutdown_is_exported() {
    let collector = TestCollector::start().await;
    let Started { tracer, exporter, counts } = start(collector.url());
    write(&tracer, 700);
    shut_down(exporter).await;
    assert_eq!(counted(&counts), (700, 0));
    assert_eq!(collector.spans().len(), 700);
    assert!(collector.posts() >= 2, "a post has 512 spans at most");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_refuses_is_asked_once_per_post() {
    let collector = TestCollector::start().await;
    let Started { tracer, exporter, counts } = start(collector.url());
    collector.behave(Behaviour::Refuse(500));
    write(&tracer, 10);
    assert_eq!(until_counted(&counts, 10).await, (0, 10));
    assert_eq!(collector.posts(), 1, "a repeat would be refused too");
    collector.behave(Behaviour::TakePart(3));
    write(&tracer, 10);
    assert_eq!(until_counted(&counts, 20).await, (7, 13));
    shut_down(exporter).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_collector_gets_the_same_spans_again() {
    let collector = TestCollector::start().await;
    let Started { tracer, exporter, counts } = start(collector.url());
    collector.behave(Behaviour::Refuse(503));
    write(&tracer, 10);
    collector.until_posts(1).await;
    collector.behave(Behaviour::Take);
    assert_eq!(until_counted(&counts, 10).await, (10, 0));
    collector.behave(Behaviour::Refuse(429));
    let posts = collector.posts();
    write(&tracer, 10);
    assert_eq!(until_counted(&counts, 20).await, (10, 10));
    assert_eq!(collector.posts(), posts + 3, "not for ever");
    shut_down(exporter).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_hangs_holds_up_nothing() {
    let collector = TestCollector::start().await;
    let Started { tracer, exporter, counts } = start(collector.url());
    collector.behave(Behaviour::Hang);
    write(&tracer, MANY);
    let (exported, dropped) = counted(&counts);
    assert_eq!(exported, 0);
    assert!(dropped > MANY / 2, "the queue is bounded: {dropped} dropped at once");
    collector.until_posts(2).await;
    shut_down(exporter).await;
    assert_eq!(counted(&counts).0, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_for_a_collector_that_is_away_are_dropped_and_counted() {
    let collector = TestCollector::start().await;
    let url = collector.url().to_owned();
    drop(collector);
    let Started { tracer, exporter, counts } = start(&url);
    write(&tracer, 10);
    assert_eq!(until_counted(&counts, 10).await, (0, 10));
    shut_down(exporter).await;
}
