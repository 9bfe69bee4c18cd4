//! The router without a database: what is answered before anything is asked of it.

use axum::body::Body;
use axum::extract::FromRequest;
use axum::response::Response;
use axum::routing::{any, get};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::domain::{App, AppId, AppLane, LaneId};
use crate::provider::apns;
use crate::store::{Purpose, SessionPool};

/// An app with credentials for everything; lanes 1 and 2 are APNs's, 3 is FCM's.
pub(super) fn app() -> Arc<App> {
    let platforms = crate::provider::built_in_platforms();
    let lanes =
        platforms.lanes().zip(1..).map(|(key, id)| (key, AppLane { id: LaneId(id), configured: true }));
    Arc::new(App {
        id: AppId(1),
        name: "shop".to_owned(),
        lanes: lanes.collect(),
        defaults: [(apns::PLATFORM, apns::defaults(apns::PRODUCTION, "com.example.shop"))].into(),
        topics_max: 100_000,
        user_tokens: None,
        cleanups: Vec::new(),
    })
}

/// A state without a reachable database.
pub(super) fn state() -> State {
    shared().into()
}

/// The parts of [`state`].
pub(super) fn shared() -> StateParts {
    let pool = SessionPool::new(
        "postgres://nobody@127.0.0.1:1/nothing".parse().expect("a URL"),
        Purpose::Requests,
        10,
    );
    StateParts {
        apps: Arc::default(),
        providers: Providers::default(),
        pool: pool.clone(),
        observe: pool.clone(),
        lookup: DeviceLookup::unshared(pool.clone()),
        installation: InstallationKey::new([7; 32]),
        keys: ApiKeys::new(pool.clone()),
        acceptor: Acceptor::closed(),
        backlog: Backlog::new(pool.clone(), 1_000),
        rates: Arc::default(),
        cors_origins: Arc::default(),
        limits: ApiLimits {
            body_bytes: 1000,
            targets: 10,
            batch_items: 10,
            drain: Duration::from_secs(1),
            keep_alive: Duration::from_secs(75),
        },
        parse_pool: ParsePool::default(),
        batch_permits: batch_permits::BatchPermits::default(),
        stream_permits: StreamPermits::default(),
        events: None,
        live: live(&pool),
        webhooks: Arc::default(),
        default_ttl: Ttl::MAX,
        health: Arc::new(health::Health::default()),
        notifier: Notifier::idle(),
        node_lease: Arc::new(NodeLease::alone()),
        metrics: Metrics::new(),
        tracer: Tracer::default(),
        trace_page: TracePage::default(),
    }
}

/// Without an open page.
fn live(pool: &SessionPool) -> DashboardLive {
    let key = InstallationKey::new([7; 32]);
    let reader = crate::events::EventReader::new(pool.clone(), key.clone(), events::writer(key));
    let (draining, metrics) = (Default::default(), Metrics::new().event_streams.clone());
    let limits = crate::events::streams::StreamLimits::default();
    let (streams, _) = crate::events::streams::EventStreams::new(reader.clone(), limits, draining, metrics);
    DashboardLive::new(EventLog { reader, streams })
}

async fn ask(request: http::request::Builder, body: &str) -> Response {
    let request = request.body(Body::from(body.to_owned())).expect("a request");
    router(state(), Surface::All).oneshot(request).await.expect("infallible")
}

async fn problem(response: Response) -> Value {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    serde_json::from_slice(&bytes).expect("JSON")
}

#[tokio::test]
async fn an_unknown_path_is_a_problem_with_the_callers_request_id() {
    let response = ask(Request::get("/v1/nothing").header("Request-Id", "abc-1"), "").await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(response.headers()["request-id"], "abc-1");
    let document = problem(response).await;
    assert_eq!(document["code"], "not_found");
    assert_eq!(document["request_id"], "abc-1");
}

#[tokio::test]
async fn a_request_id_that_is_too_long_or_has_spaces_is_replaced() {
    for wrong in [&"x".repeat(65), "a b", ""] {
        let response = ask(Request::get("/healthz").header("Request-Id", wrong), "").await;
        assert_eq!(response.headers()["request-id"].len(), 32, "{wrong}");
    }
}

#[tokio::test]
async fn the_openapi_document_is_served_where_operators_are() {
    for (surface, status) in [
        (Surface::All, StatusCode::OK),
        (Surface::Internal, StatusCode::OK),
        (Surface::Public, StatusCode::NOT_FOUND),
    ] {
        let request = Request::get("/openapi.json").body(Body::empty()).expect("a request");
        let response = router(state(), surface).oneshot(request).await.expect("infallible");
        assert_eq!(response.status(), status, "{surface:?}");
        let bytes = response.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(bytes == openapi::json(), status == StatusCode::OK, "{surface:?}");
    }
}

#[test]
fn the_log_has_milliseconds_with_one_decimal() {
    let shown = [Duration::from_micros(4_749_961), Duration::from_micros(49)].map(request_log::milliseconds);
    assert_eq!(shown, [4750.0, 0.0]);
    assert_eq!(request_log::milliseconds(Duration::from_micros(12_345)).to_string(), "12.3");
}

#[tokio::test]
async fn a_wrong_method_names_the_right_ones() {
    let response = ask(Request::delete("/healthz"), "").await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()["allow"], "GET,HEAD");
    assert_eq!(problem(response).await["code"], "method_not_allowed");
}

#[tokio::test]
async fn not_ready_is_a_503_with_retry_after() {
    let response = ask(Request::get("/readyz"), "").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(problem(response).await["code"], "unavailable");
}

#[tokio::test]
async fn a_panic_is_a_500_that_tells_nothing() {
    let panicking = Router::new()
        .route(
            "/",
            get(|| async {
                if true {
                    panic!("secret")
                }
            }),
        )
        .layer(axum::middleware::from_fn_with_state(
            RequestLayer::new(Metrics::new()),
            request_layer::handle,
        ));
    let response = panicking.oneshot(Request::get("/").body(Body::empty()).expect("a request")).await;
    let document = problem(response.expect("infallible")).await;
    assert_eq!(document["code"], "internal");
    assert!(!document.to_string().contains("secret"));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_takes_too_long_has_an_unknown_outcome() {
    for (method, path, code, ending) in [
        ("GET", "/v1/devices", "unavailable", "Nothing was stored."),
        ("POST", "/v1/devices/lookup", "unavailable", "Nothing was stored."),
        (
            "POST",
            "/v1/notifications",
            "outcome_unknown",
            "unless both requests have the same idempotency key.",
        ),
        ("PUT", "/v1/devices", "outcome_unknown", "nothing is done twice."),
        ("DELETE", "/v1/devices/{id}", "outcome_unknown", "nothing is done twice."),
    ] {
        let stuck = Router::new().route(path, any(std::future::pending::<()>));
        let stuck = stuck.layer(axum::middleware::from_fn_with_state(
            RequestLayer::new(Metrics::new()),
            request_layer::handle,
        ));
        let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
        let response = stuck.oneshot(request).await.expect("infallible");
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["retry-after"], "2");
        let document = problem(response).await;
        assert_eq!(document["code"], code, "{method} {path}");
        assert!(document["detail"].as_str().is_some_and(|detail| detail.ends_with(ending)), "{document}");
    }
}

#[tokio::test]
async fn without_a_key_every_route_is_401_before_anything_else() {
    let with =
        |authorization: &str| Request::post("/v1/notifications").header("Authorization", authorization);
    let absent = "There is no `Authorization` header.";
    let other = "There must be one `Authorization` header, of the form `Bearer <key>`";
    for (request, detail) in [
        (Request::post("/v1/notifications"), absent),
        (Request::get("/v1/notifications/ntf_x?statsu=1"), absent),
        (Request::get("/v1/notifications/ntf_x/deliveries"), absent),
        (with("Basic eDp5"), other),
        (with("Bearer "), other),
        (with("Bearer x").header("Authorization", "Bearer y"), other),
        (with("Bearer eDp5"), "This is not a key: a key begins with `pushpost_sk_` or `pushpost_pk_`."),
    ] {
        let response = ask(request, "not JSON").await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        let document = problem(response).await;
        assert_eq!(document["code"], "unauthenticated");
        assert!(document["detail"].as_str().is_some_and(|said| said.starts_with(detail)), "{document}");
        assert!(!document.to_string().contains("eDp5"), "nothing of the key is repeated: {document}");
    }
}

#[tokio::test]
async fn notifications_can_not_be_deleted_all_at_once() {
    let response = ask(Request::delete("/v1/notifications"), "").await;
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    let mut allowed: Vec<_> = response.headers()["allow"].to_str().expect("text").split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
}

#[tokio::test]
async fn a_body_is_of_its_type_and_within_the_limit() {
    async fn read(request: http::request::Builder, body: impl Into<Body>) -> Result<usize, ApiError> {
        let request = request.body(body.into()).expect("a request");
        body::JsonBody::from_request(request, &state()).await.map(|body::JsonBody(bytes)| bytes.len())
    }
    let json = || Request::post("/").header("Content-Type", "application/json; charset=utf-8");
    assert!(matches!(read(json(), "x".repeat(1000)).await, Ok(1000)));
    assert!(matches!(read(json(), "x".repeat(1001)).await, Err(ApiError::BodyTooLarge(1000))));
    let announced = json().header("Content-Length", "1001");
    assert!(matches!(read(announced, "").await, Err(ApiError::BodyTooLarge(1000))));
    for wrong in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx"] {
        let request = Request::post("/").header("Content-Type", wrong);
        assert!(matches!(read(request, "{}").await, Err(ApiError::UnsupportedMediaType)), "{wrong}");
    }
    assert!(matches!(read(Request::post("/"), "{}").await, Err(ApiError::UnsupportedMediaType)));
}
