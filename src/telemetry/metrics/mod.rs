//! The metrics of a node, which `GET /metrics` answers. `docs/metrics.md` lists all of them for operators.
//!
//! Each node of a process has its own [`Metrics`]: there is no global. A group is a file with the metrics of one subject.
//! Its fields are handles of `prometheus_client`; the clones of a handle share its value. Code that counts often resolves its handles
//! once, for example [`LanesMetrics::lane`] when a lane starts.
//!
//! Counting takes no lock: counters and gauges are atomics, and so are the [`Histogram`]s. Labels are apps, lanes and words
//! of closed lists, never what a request or a provider wrote (docs/metrics.md#labels).

mod accept;
mod database;
mod deliveries;
mod event_streams;
mod events;
mod exemplars;
mod families;
mod histogram;
mod http;
mod label;
mod lane;
mod lane_families;
mod lane_starts;
mod log;
mod names;
mod node;
mod plain_text;
mod postgres;
mod process;
mod reason;
mod record;
mod trace;
mod webhooks;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

pub use accept::{AcceptMetrics, AppMetrics, AudienceKind};
pub use database::{AppFigures, DatabaseFigures, DatabaseMetrics, DeviceFigure, LaneFigures, WebhookFigure};
pub use deliveries::DeliveryMetrics;
pub use event_streams::{EventStreamMetrics, StreamKind};
pub use events::EventMetrics;
pub use histogram::{Histogram, quick_percentile};
pub use http::{HttpMetrics, RouteMetrics};
pub use label::{Held, SecondsGauge};
pub use lane::{AttemptOutcome, ConnectionEnd, LaneMetrics, LanesMetrics};
pub use lane_starts::{LaneStarts, StartCounts};
pub(super) use log::LineCounter;
pub use node::{NodeMetrics, RuntimeName};
pub use postgres::{PoolMetrics, PostgresErrorClass, PostgresMetrics};
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::gauge::Gauge;
pub use reason::reason_label;
pub use record::{DropCause, RecordMetrics};
pub use trace::TraceMetrics;
pub use webhooks::WebhookMetrics;

use names::Names;

/// The form of an answer of `/metrics`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exposition {
    /// Prometheus's text format 0.0.4, which every collector reads.
    Text,
    /// OpenMetrics 1.0, with units and exemplars.
    OpenMetrics,
}

impl Exposition {
    /// The `Content-Type` of the answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

type Refresh = dyn Fn() + Send + Sync;

/// Keeps a [refresh](Metrics::before_scrape) in use until it is dropped.
#[must_use = "without its guard a refresh is never run"]
pub struct RefreshGuard(#[expect(dead_code, reason = "held for its lifetime")] Arc<Refresh>);

impl fmt::Debug for RefreshGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshGuard")
    }
}

/// All metrics of a node.
pub struct Metrics {
    registry: Registry,
    refreshes: Mutex<Vec<Weak<Refresh>>>,
    /// Requests and connections of clients.
    pub http: HttpMetrics,
    /// Accepted notifications and their audiences.
    pub accept: AcceptMetrics,
    /// The lanes: attempts, outcomes, connections, health.
    pub lanes: LanesMetrics,
    /// Final outcomes, counted after their commit.
    pub deliveries: DeliveryMetrics,
    /// Claims and records.
    pub record: RecordMetrics,
    /// Statements and connections.
    pub postgres: PostgresMetrics,
    /// The node itself.
    pub node: NodeMetrics,
    /// What the leader reads in the database for all nodes.
    pub database: DatabaseMetrics,
    /// The export of traces.
    pub trace: TraceMetrics,
    /// Attempts of webhooks.
    pub webhooks: WebhookMetrics,
    /// The event log.
    pub events: EventMetrics,
    /// Open streams of events.
    pub event_streams: EventStreamMetrics,
}

impl Metrics {
    /// The metrics of a new node. What is known at the start stands at 0.
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::default();
        let mut names = Names::new(&mut registry);
        let metrics = (
            HttpMetrics::register(&mut names),
            AcceptMetrics::register(&mut names),
            LanesMetrics::register(&mut names),
            DeliveryMetrics::register(&mut names),
            RecordMetrics::register(&mut names),
            PostgresMetrics::register(&mut names),
            NodeMetrics::register(&mut names),
            DatabaseMetrics::register(&mut names),
            TraceMetrics::register(&mut names),
            EventStreamMetrics::register(&mut names),
            EventMetrics::register(&mut names),
        );
        let webhooks = WebhookMetrics::register(&mut names);
        process::register(&mut names);
        log::register(&mut names);
        let (http, accept, lanes, deliveries, record, postgres, node, database, trace, event_streams, events) =
            metrics;
        let refreshes = Mutex::default();
        Arc::new(Self {
            registry,
            refreshes,
            http,
            accept,
            lanes,
            deliveries,
            record,
            postgres,
            node,
            database,
            trace,
            events,
            event_streams,
            webhooks,
        })
    }

    /// Has `refresh` run before each scrape, to set gauges that cost less to read than to keep up to date. It runs on a
    /// thread where it may block for microseconds, and must take no lock that sending or accepting takes.
    pub fn before_scrape(&self, refresh: impl Fn() + Send + Sync + 'static) -> RefreshGuard {
        let refresh: Arc<Refresh> = Arc::new(refresh);
        let mut refreshes = self.refreshes.lock().unwrap_or_else(PoisonError::into_inner);
        refreshes.retain(|refresh| refresh.strong_count() > 0);
        refreshes.push(Arc::downgrade(&refresh));
        RefreshGuard(refresh)
    }

    /// The answer of `/metrics`. Reads files of `/proc`, so it belongs on a thread that may block.
    pub fn expose(&self, form: Exposition) -> String {
        let refreshes = self.refreshes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        refreshes.iter().filter_map(Weak::upgrade).for_each(|refresh| refresh());
        let mut answer = String::new();
        text::encode(&mut answer, &self.registry).expect("a string takes any text");
        match form {
            Exposition::Text => plain_text::from_openmetrics(&answer),
            Exposition::OpenMetrics => self.lanes.with_exemplars(answer),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
