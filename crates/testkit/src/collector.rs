//! A receiver of traces: OTLP over HTTP with protobuf, as a collector speaks it. It keeps the spans that it takes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as Code;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::wait::{POLL_INTERVAL, WAIT_MAX};

/// How the collector answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behaviour {
    /// It takes everything.
    Take,
    /// It takes each post, and says that it refused so many spans of it.
    TakePart(i64),
    /// It answers with this status.
    Refuse(u16),
    /// It reads posts and does not answer.
    Hang,
}

/// A span that was taken.
#[derive(Clone, PartialEq, Debug)]
pub struct SeenSpan {
    pub name: String,
    /// As OpenTelemetry names it: `SERVER`.
    pub kind: String,
    pub trace: String,
    pub id: String,
    /// Empty: it is the first one of its trace.
    pub parent: String,
    pub flags: u32,
    /// Nanoseconds since 1970.
    pub began: u64,
    pub ended: u64,
    pub is_error: bool,
    /// Trace and span of each link.
    pub links: Vec<(String, String)>,
    pub attributes: BTreeMap<String, Value>,
    pub resource: BTreeMap<String, Value>,
}

/// A collector on a port of its own.
pub struct TestCollector {
    shared: Arc<Shared>,
    url: String,
    /// Ends with it.
    _server: JoinSet<()>,
}

struct Shared {
    behaviour: Mutex<Behaviour>,
    spans: Mutex<Vec<SeenSpan>>,
    /// The bodies of all posts, taken or not.
    bodies: Mutex<Vec<Bytes>>,
    headers: Mutex<HeaderMap>,
    posts: AtomicUsize,
}

impl TestCollector {
    pub async fn start() -> Self {
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(Behaviour::Take),
            spans: Mutex::default(),
            bodies: Mutex::default(),
            headers: Mutex::default(),
            posts: AtomicUsize::new(0),
        });
        let routes = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { shared, url, _server: server }
    }

    /// The base URL, without the path of traces.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn behave(&self, behaviour: Behaviour) {
        *lock(&self.shared.behaviour) = behaviour;
    }

    /// Number of posts, taken or not.
    pub fn posts(&self) -> usize {
        self.shared.posts.load(Ordering::Acquire)
    }

    /// The headers of the last post.
    pub fn headers(&self) -> HeaderMap {
        lock(&self.shared.headers).clone()
    }

    pub fn spans(&self) -> Vec<SeenSpan> {
        lock(&self.shared.spans).clone()
    }

    /// Everything that was posted, as bytes of protobuf, in which texts stand as they are.
    pub fn posted(&self) -> Vec<u8> {
        lock(&self.shared.bodies).concat()
    }

    /// Waits until the spans are as wanted, and returns them.
    pub async fn until(&self, what: &str, is_so: impl Fn(&[SeenSpan]) -> bool) -> Vec<SeenSpan> {
        let begun = Instant::now();
        loop {
            let spans = self.spans();
            if is_so(&spans) {
                return spans;
            }
            let names: Vec<_> = spans.iter().map(|span| &span.name).collect();
            assert!(begun.elapsed() < WAIT_MAX, "in vain: {what}; spans: {names:?}");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until so many posts have come.
    pub async fn until_posts(&self, count: usize) {
        let begun = Instant::now();
        while self.posts() < count {
            assert!(begun.elapsed() < WAIT_MAX, "in vain: {count} posts");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let request = ExportTraceServiceRequest::decode(body.clone()).expect("it is protobuf");
    lock(&shared.bodies).push(body);
    *lock(&shared.headers) = headers;
    shared.posts.fetch_add(1, Ordering::AcqRel);
    let behaviour = *lock(&shared.behaviour);
    let refused = match behaviour {
        Behaviour::Take => 0,
        Behaviour::TakePart(refused) => refused,
        Behaviour::Refuse(status) => return StatusCode::from_u16(status).unwrap().into_response(),
        Behaviour::Hang => std::future::pending().await,
    };
    let mut spans = lock(&shared.spans);
    for of_resource in request.resource_spans {
        let resource = attributes(of_resource.resource.unwrap_or_default().attributes);
        for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(seen(span, resource.clone()));
        }
    }
    let partial = ExportTracePartialSuccess { rejected_spans: refused, error_message: String::new() };
    let partial_success = (refused > 0).then_some(partial);
    ExportTraceServiceResponse { partial_success }.encode_to_vec().into_response()
}

fn seen(span: Span, resource: BTreeMap<String, Value>) -> SeenSpan {
    assert_eq!((span.trace_id.len(), span.span_id.len()), (16, 8), "{}", span.name);
    SeenSpan {
        kind: SpanKind::try_from(span.kind).unwrap().as_str_name().replace("SPAN_KIND_", ""),
        name: span.name,
        trace: hex::encode(span.trace_id),
        id: hex::encode(span.span_id),
        parent: hex::encode(span.parent_span_id),
        flags: span.flags,
        began: span.start_time_unix_nano,
        ended: span.end_time_unix_nano,
        links: span
            .links
            .iter()
            .map(|link| (hex::encode(&link.trace_id), hex::encode(&link.span_id)))
            .collect(),
        is_error: span.status.is_some_and(|status| status.code == Code::Error as i32),
        attributes: attributes(span.attributes),
        resource,
    }
}

fn attributes(all: Vec<KeyValue>) -> BTreeMap<String, Value> {
    let count = all.len();
    let attributes: BTreeMap<String, Value> = all
        .into_iter()
        .map(|KeyValue { key, value, .. }| {
            let value = match value.and_then(|value| value.value).expect("each attribute has a value") {
                Any::StringValue(text) => json!(text),
                Any::IntValue(number) => json!(number),
                Any::DoubleValue(number) => json!(number),
                Any::BoolValue(flag) => json!(flag),
                other => panic!("{key}: {other:?}"),
            };
            (key, value)
        })
        .collect();
    assert_eq!(attributes.len(), count, "each name at most once");
    attributes
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
