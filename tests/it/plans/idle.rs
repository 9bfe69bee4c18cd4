//! An idle node runs fewer than three statements a second, however many lanes it has (docs/queue.md#idle-load).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pushpost::domain::{App, LaneId, LaneState, NodeId, ServedApps, WebhookName, WebhookSecret};
use pushpost::events::webhooks::{
    self, DeclaredWebhooks, WebhookRegistry, WebhookServices, WebhookSettings, WebhookTypes, WebhookUrl,
};
use pushpost::events::{DeviceDetail, EventReader};
use pushpost::queue::heartbeat::Heartbeat;
use pushpost::queue::lane_intake::{LaneIntake, LaneIntakes};
use pushpost::queue::leases::Leases;
use pushpost::queue::node_lease::NodeLease;
use pushpost::store::lanes::LaneReport;
use pushpost::store::nodes::NodeDescription;
use pushpost::store::{Purpose, SessionPool};
use pushpost::telemetry::metrics::Metrics;
use pushpost::telemetry::trace::Tracer;
use pushpost::{maintenance, store};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::queue_pool;
use pushpost_testkit::apps::{app, kept};
use pushpost_testkit::database::TestDatabase;

/// Until everything has started and done its first round.
const START: Duration = Duration::from_secs(8);
const WINDOW: Duration = Duration::from_secs(12);
/// A second more than the window: what falls due at either edge counts in full.
const MOST: usize = 3 * 13;

/// Statements by their first words. Counted where they are sent: the server's own statistics count its autovacuum too.
#[derive(Clone, Default)]
struct Statements(Arc<Mutex<BTreeMap<String, usize>>>);

impl Subscriber for Statements {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut summary = Summary::default();
        event.record(&mut summary);
        *self.0.lock().unwrap().entry(summary.0).or_default() += 1;
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Summary(String);

impl Visit for Summary {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "summary" {
            self.0 = value.to_owned();
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// What an idle service tells of its lanes, as often as it does, and hears in return.
async fn standing(pool: SessionPool, node: NodeId, lanes: Vec<LaneId>, stop: CancellationToken) {
    let report = |lane: &LaneId| LaneReport {
        lane: *lane,
        state: LaneState::Running,
        why: None,
        since_ms: 0,
        in_flight: 0,
        in_flight_max: 0,
        rate: 0.0,
        connections: 0,
        credential: vec![1; 32],
        credential_ok: None,
        checked_ms: None,
    };
    let reports: Vec<LaneReport> = lanes.iter().map(report).collect();
    while !stop.is_cancelled() {
        let mut conn = pool.acquire().await.unwrap();
        let standing = store::lanes::report(&mut conn, node, &reports).await.unwrap();
        assert_eq!(standing.len(), lanes.len());
        assert!(standing.iter().all(|lane| lane.nodes <= 1), "nobody else has them");
        drop(conn);
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(Duration::from_secs(3)) => {}
        }
    }
}

/// What delivers to a webhook of this app, which has got everything.
async fn webhook_services(db: &TestDatabase, node_lease: &Arc<NodeLease>, app: App) -> WebhookServices {
    let pool = db.pool_for(Purpose::Observe, 2);
    let mut conn = pool.acquire().await.unwrap();
    let installation = store::apps::installation_key(&mut conn).await.unwrap();
    let settings = WebhookSettings {
        name: WebhookName::parse("backend").unwrap(),
        url: WebhookUrl::parse("https://backend.example.com/").unwrap(),
        secrets: vec![WebhookSecret::random()].into(),
        types: WebhookTypes::default(),
        devices: DeviceDetail::All,
        batch_max: 100,
        ca_file: None,
    };
    let declared = DeclaredWebhooks { webhooks: vec![settings], hosts: Vec::new() };
    let registry = WebhookRegistry::default();
    registry.replace([(app.id, declared)].into());
    webhooks::enter(&mut conn, &registry.declared()).await.unwrap();
    let reader = EventReader::new(pool.clone(), installation.clone(), Arc::new(|_, _, _| String::new()));
    WebhookServices {
        pool,
        node_lease: Arc::clone(node_lease),
        node_name: "idle".to_owned(),
        reader,
        registry: Arc::new(registry),
        apps: Arc::new(ServedApps::new([(app.id, Arc::new(app))].into())),
        installation,
        metrics: Metrics::new(),
        tracer: Tracer::default(),
    }
}

#[tokio::test]
async fn an_idle_node_with_three_apps_and_a_webhook_runs_fewer_than_three_statements_a_second() {
    let db = TestDatabase::create().await;
    let (queue, heartbeat) = (queue_pool(&db, 6), queue_pool(&db, 1));
    let node_lease = Arc::new(
        NodeLease::register(&queue, NodeDescription::of_this_program("idle"), Duration::from_secs(15))
            .await
            .unwrap(),
    );
    let mut lanes = Vec::new();
    for name in ["one", "two", "three"] {
        lanes.extend(app(&queue, name).await.lanes.values().map(|lane| lane.id));
    }
    let intakes: LaneIntakes = lanes.iter().map(|lane| Arc::new(LaneIntake::new(*lane, 100))).collect();
    let services = webhook_services(&db, &node_lease, app(&queue, "one").await).await;
    let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
    let statements = Statements::default();
    // While there is one subscriber alone, tracing asks the thread that comes first to an event whether there is a listener,
    // and keeps the answer for all threads: that may be another test's thread, which has none.
    let _second = tracing::Dispatch::new(Statements::default());
    let _counted = tracing::subscriber::set_default(statements.clone());
    let heartbeat = Heartbeat {
        pool: heartbeat,
        node_lease: Arc::clone(&node_lease),
        leases: Arc::new(Leases::default()),
        intakes: Arc::new(intakes),
        fan_outs: Arc::default(),
        tasks: TaskTracker::new(),
    };
    tasks.spawn(heartbeat.run(stop.clone()));
    let node = node_lease.id();
    let duties =
        maintenance::Settings { pool: queue.clone(), node_lease, retention: kept(30), apps: Arc::default() };
    let figures = maintenance::FigureSettings {
        pool: db.pool_for(Purpose::Observe, 2),
        node_lease: Arc::clone(&duties.node_lease),
        metrics: Metrics::new(),
    };
    tasks.spawn(maintenance::read_figures(figures, stop.clone()));
    tasks.spawn(maintenance::run(duties, stop.clone()));
    tasks.spawn(standing(queue, node, lanes, stop.clone()));
    let (_logged, news) = watch::channel(());
    tasks.spawn(webhooks::run(Arc::new(services), 16, news, stop.clone()));
    sleep(START).await;
    std::mem::take(&mut *statements.0.lock().unwrap());
    sleep(WINDOW).await;
    let asked = std::mem::take(&mut *statements.0.lock().unwrap());
    stop.cancel();
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let total: usize = asked.values().sum();
    assert!(total >= WINDOW.as_secs().try_into().unwrap(), "the tick alone is one a second: {asked:#?}");
    assert!(total <= MOST, "{total} statements in {WINDOW:?}: {asked:#?}");
}
