//! The HTTP API on a real database, asked through its router without a socket.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt;
use pushpost::api::batch_permits::BatchPermits;
use pushpost::api::dashboard::DashboardLive;
use pushpost::api::health::Health;
use pushpost::api::parse_pool::ParsePool;
use pushpost::api::{self, ApiLimits, ListenerRouter, State, StateParts, Surface, router};
use pushpost::audience::DeviceLookup;
use pushpost::domain::{App, ServedApps, Ttl};
use pushpost::events::streams::{EventStreams, StreamLimits, StreamWorker};
use pushpost::events::{EventLog, EventReader};
use pushpost::notifications::deliveries::StreamPermits;
use pushpost::queue::accept::Acceptor;
use pushpost::queue::backlog::Backlog;
use pushpost::queue::node_lease::NodeLease;
use pushpost::queue::notifier::Notifier;
use pushpost::registry::keys::ApiKeys;
use pushpost::store;
use pushpost::telemetry::metrics::Metrics;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::answer::Answer;
use crate::apps;
use crate::database::TestDatabase;

/// The API for the apps `shop` and `other`.
pub struct TestApi {
    pub database: TestDatabase,
    pub shop: App,
    pub other: App,
    pub health: Arc<Health>,
    router: Router,
    state: State,
    stream_worker: Option<StreamWorker>,
    /// What serves a socket; ends with this.
    serving: JoinSet<()>,
}

/// A client with a key.
pub struct ApiClient<'a> {
    service: &'a TestApi,
    secret: String,
}

impl TestApi {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With another configuration of `shop`.
    pub async fn start_with(change: impl FnOnce(&mut App)) -> Self {
        Self::start_limited(change, StreamLimits::default()).await
    }

    /// With other limits of event streams, on a socket; answers its address.
    pub async fn listen(limits: StreamLimits) -> (Self, SocketAddr) {
        let mut api = Self::start_limited(|_| {}, limits).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = ListenerRouter::of(api.state.clone(), Surface::All);
        let worker = api.stream_worker.take().unwrap();
        let (logged, pool, stop) =
            (watch::Sender::new(()), api.database.pool.clone(), CancellationToken::new());
        api.serving.spawn(async move { worker.run(logged.subscribe(), pool, stop).await });
        let (connections_max, api_limits) = (watch::Sender::new(100), api.state.limits);
        api.serving.spawn(async move {
            let stop = CancellationToken::new();
            api::serve(listener, router, api_limits, connections_max.subscribe(), stop).await.unwrap();
        });
        (api, address)
    }

    async fn start_limited(change: impl FnOnce(&mut App), stream_limits: StreamLimits) -> Self {
        let database = TestDatabase::create().await;
        let mut shop = apps::shop(&database.pool).await;
        change(&mut shop);
        let other = apps::app(&database.pool, "other").await;
        let mut conn = database.pool.acquire().await.unwrap();
        let installation = store::apps::installation_key(&mut conn).await.unwrap();
        drop(conn);
        let name = store::nodes::NodeDescription::of_this_program("requests only");
        let node_lease = NodeLease::register(&database.pool, name, Duration::from_secs(15)).await.unwrap();
        let node_lease = Arc::new(node_lease);
        let health = Arc::new(Health::default());
        let apps: HashMap<_, _> = [&shop, &other].map(|app| (app.id, Arc::new(app.clone()))).into();
        let writer = pushpost::api::events::writer(installation.clone());
        let reader = EventReader::new(database.pool.clone(), installation.clone(), writer);
        let metrics = Metrics::new();
        // Without its worker, unless there is a socket: a stream gets what is there when it begins.
        let (streams, worker) = EventStreams::new(
            reader.clone(),
            stream_limits,
            health.drain_signal(),
            metrics.event_streams.clone(),
        );
        let events = EventLog { reader, streams };
        let state = State::from(StateParts {
            providers: pushpost::provider::Providers::default(),
            apps: Arc::new(ServedApps::new(apps)),
            pool: database.pool.clone(),
            observe: database.pool.clone(),
            lookup: DeviceLookup::unshared(database.pool.clone()),
            installation,
            keys: ApiKeys::new(database.pool.clone()),
            acceptor: Acceptor::closed(),
            backlog: Backlog::new(database.pool.clone(), 1_000_000),
            rates: Arc::default(),
            cors_origins: Arc::default(),
            limits: ApiLimits {
                body_bytes: 1 << 20,
                targets: 10_000,
                batch_items: 1_000,
                drain: Duration::from_secs(1),
                keep_alive: Duration::from_secs(75),
            },
            parse_pool: ParsePool::default(),
            batch_permits: BatchPermits::default(),
            stream_permits: StreamPermits::default(),
            live: DashboardLive::new(events.clone()),
            events: Some(events),
            webhooks: Arc::default(),
            default_ttl: Ttl::MAX,
            health: Arc::clone(&health),
            notifier: Notifier::new(Arc::default(), Arc::clone(&node_lease)),
            node_lease,
            metrics,
            tracer: pushpost::telemetry::trace::Tracer::default(),
            trace_page: pushpost::telemetry::trace::TracePage::default(),
        });
        let (router, serving) = (router(state.clone(), Surface::All), JoinSet::new());
        Self { database, shop, other, health, router, state, stream_worker: Some(worker), serving }
    }

    /// A client with a new key of `shop`.
    pub async fn client(&self, scopes: &str) -> ApiClient<'_> {
        self.client_of(&self.shop, scopes).await
    }

    /// A client with a new key of an app.
    pub async fn client_of(&self, app: &App, scopes: &str) -> ApiClient<'_> {
        let secret = self.database.create_key(&app.name, scopes).await;
        ApiClient { service: self, secret }
    }
}

impl ApiClient<'_> {
    /// Sends a request without a body.
    pub async fn ask(&self, method: Method, path: &str) -> Answer {
        self.send(method, path, HeaderMap::new(), Body::empty()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.json(Method::PUT, path, body).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.json(Method::POST, path, body).await
    }

    pub async fn json(&self, method: Method, path: &str, body: Value) -> Answer {
        self.json_with(method, path, HeaderMap::new(), body).await
    }

    /// As [`Self::json`], with further headers.
    pub async fn json_with(&self, method: Method, path: &str, mut headers: HeaderMap, body: Value) -> Answer {
        headers.insert("content-type", "application/json".parse().unwrap());
        self.send(method, path, headers, Body::from(body.to_string())).await
    }

    /// Posts to `/v1/devices/import`; `query` begins with `?`.
    pub async fn import(&self, query: &str, body: impl Into<Body>) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/x-ndjson".parse().unwrap());
        self.send(Method::POST, &format!("/v1/devices/import{query}"), headers, body.into()).await
    }

    pub async fn send(&self, method: Method, path: &str, headers: HeaderMap, body: Body) -> Answer {
        let mut request = Request::builder().method(method.clone()).uri(path).body(body).unwrap();
        *request.headers_mut() = headers;
        let bearer = format!("Bearer {}", self.secret);
        request.headers_mut().insert("authorization", bearer.parse().unwrap());
        let response = self.service.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        Answer::of(&method, path, status, headers, &bytes)
    }
}
