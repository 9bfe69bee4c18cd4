//! No transaction of accept, claim or record contains a NOTIFY; wake-ups for other nodes are few
//! (docs/queue.md#no-notify-in-transactions).

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use pushpost::domain::{
    App, Class, Content, DeliveryStatus, DeviceId, LaneId, LaneKey, Priority, References, SendTime, Target,
    Ttl,
};
use pushpost::provider::apns;
use pushpost::queue::accept::{Acceptor, NewNotification};
use pushpost::queue::claim::Claimer;
use pushpost::queue::lane_intake::{LaneIntakes, LeasedJob};
use pushpost::queue::leases::Leases;
use pushpost::queue::node_lease::NodeLease;
use pushpost::queue::notifier::Notifier;
use pushpost::queue::recorder::{Disposition, OutcomeRecorder};
use pushpost::store;
use pushpost::store::SessionPool;
use pushpost::telemetry::metrics::Metrics;
use sqlx::postgres::PgListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{GENEROUS, node, queue_pool};
use pushpost_testkit::apps::shop;
use pushpost_testkit::database::TestDatabase;

const CHANNEL: &str = "pushpost_lane";
const LAST: &str = "last";
/// Least time between two wake-ups of a lane.
const EVERY: Duration = Duration::from_millis(20);

/// A node that accepts, and sends nothing.
struct Node {
    acceptor: Acceptor,
    node_lease: Arc<NodeLease>,
    notifier: Notifier,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Node {
    async fn start(pool: &SessionPool, peers: usize) -> Self {
        let node_lease = node(pool).await;
        let mut conn = pool.acquire().await.unwrap();
        for _ in 0..peers {
            store::nodes::register(&mut conn, &store::nodes::NodeDescription::of_this_program("peer"))
                .await
                .unwrap();
        }
        node_lease.beat(&mut conn).await.unwrap();
        assert_eq!(node_lease.has_peers(), peers > 0);
        let intakes = Arc::new(LaneIntakes::default());
        let notifier = Notifier::new(Arc::clone(&intakes), Arc::clone(&node_lease));
        let (acceptor, committer) = Acceptor::new(
            pool.clone(),
            Arc::clone(&node_lease),
            intakes,
            None,
            notifier.clone(),
            Metrics::new(),
        );
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        tasks.spawn(committer.run(stop.clone()));
        tasks.spawn(notifier.clone().run_sender(pool.clone(), stop.clone()));
        Self { acceptor, node_lease, notifier, tasks, stop }
    }

    async fn accept(&self, app: &Arc<App>, count: i64) {
        let accepts = (1..=count).map(|device| self.acceptor.accept(notification(app, device)));
        for accepted in join_all(accepts).await {
            accepted.unwrap();
        }
    }

    async fn end(mut self) {
        self.stop.cancel();
        while let Some(done) = self.tasks.join_next().await {
            done.unwrap();
        }
    }
}

fn notification(app: &Arc<App>, device: i64) -> NewNotification {
    let target = Target {
        device: DeviceId(device),
        lane: lane(app),
        user: None,
        references: References::default(),
        refused: None,
    };
    let new = NewNotification::without_targets(app, Content::default(), SendTime::Now, Ttl::MAX);
    NewNotification { targets: vec![target], ..new }
}

fn lane(app: &App) -> LaneId {
    app.lane(LaneKey::of(apns::PLATFORM, Some(apns::PRODUCTION))).id
}

async fn listen(db: &TestDatabase) -> PgListener {
    let mut listener = PgListener::connect(db.url()).await.unwrap();
    listener.listen(CHANNEL).await.unwrap();
    listener
}

/// How many came before one that the test sends itself, after everything else was committed.
async fn heard(listener: &mut PgListener, pool: &SessionPool) -> usize {
    sqlx::query("select pg_notify($1, $2)").bind(CHANNEL).bind(LAST).execute(pool).await.unwrap();
    let mut count = 0;
    while timeout(GENEROUS, listener.recv()).await.unwrap().unwrap().payload() != LAST {
        count += 1;
    }
    count
}

/// Claims everything and puts it on record.
async fn send_all(pool: &SessionPool, node: &Node, lane: LaneId, count: usize) {
    let (verdicts, _none) = mpsc::channel(1);
    let (recorder, writer) = OutcomeRecorder::new(
        pool.clone(),
        Arc::new(Leases::default()),
        node.notifier.clone(),
        verdicts,
        Metrics::new(),
    );
    let mut claimer = Claimer::new(pool.clone(), lane);
    let lease = node.node_lease.id();
    let jobs = claimer.claim(Class::Direct, Priority::Normal, count, lease).await.unwrap();
    assert_eq!(jobs.len(), count);
    for job in jobs {
        let (_, tickets) = recorder.open(LeasedJob::new(job, lease, None));
        for ticket in tickets {
            let ending = Disposition::Final {
                status: DeliveryStatus::Accepted,
                attempted: true,
                reason: None,
                provider_id: None,
            };
            ticket.end(ending, Instant::now(), None);
        }
    }
    let stop = CancellationToken::new();
    stop.cancel();
    writer.run(stop).await;
    let left: i64 = sqlx::query_scalar("select count(*) from jobs").fetch_one(pool).await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_node_without_peers_sends_no_notify() {
    let db = TestDatabase::create().await;
    let pool = queue_pool(&db, 6);
    let app = Arc::new(shop(&pool).await);
    let mut listener = listen(&db).await;
    let node = Node::start(&pool, 0).await;
    node.accept(&app, 50).await;
    send_all(&pool, &node, lane(&app), 50).await;
    node.end().await;
    assert_eq!(heard(&mut listener, &db.pool).await, 0);
}

#[tokio::test]
async fn a_burst_wakes_other_nodes_a_few_times() {
    const BURST: usize = 500;
    let db = TestDatabase::create().await;
    let pool = queue_pool(&db, 6);
    let app = Arc::new(shop(&pool).await);
    let mut listener = listen(&db).await;
    let node = Node::start(&pool, 1).await;
    let began = Instant::now();
    for _ in 0..BURST {
        node.accept(&app, 1).await;
    }
    let first = timeout(GENEROUS, listener.recv()).await.expect("a wake-up").unwrap();
    assert_eq!(first.payload(), lane(&app).0.to_string());
    node.end().await;
    let took = began.elapsed();
    let more = heard(&mut listener, &db.pool).await;
    let most = took.div_duration_f64(EVERY).ceil() as usize;
    assert!(most >= 1 && more <= most, "{more} wake-ups of one lane in {took:?}");
}

#[tokio::test]
async fn claims_and_records_send_no_notify_even_with_peers() {
    let db = TestDatabase::create().await;
    let pool = queue_pool(&db, 6);
    let app = Arc::new(shop(&pool).await);
    let node = Node::start(&pool, 1).await;
    node.accept(&app, 50).await;
    let mut listener = listen(&db).await;
    // The sender may have one under way; what it has sent is over when it has ended.
    let (node_lease, notifier) = (Arc::clone(&node.node_lease), node.notifier.clone());
    node.end().await;
    heard(&mut listener, &db.pool).await;
    let idle = Node {
        acceptor: Acceptor::closed(),
        node_lease,
        notifier,
        tasks: JoinSet::new(),
        stop: CancellationToken::new(),
    };
    send_all(&pool, &idle, lane(&app), 50).await;
    assert_eq!(heard(&mut listener, &db.pool).await, 0);
}

#[test]
fn one_function_of_store_notifies() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![root.join("src/store"), root.join("migrations")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            for line in fs::read_to_string(&path).unwrap().lines() {
                let code = line.trim_start();
                let comment = code.starts_with("//") || code.starts_with("--");
                // Tokio's `Notify` tells tasks of this process.
                let is_within_process = code.contains("Notify") || code.contains("notify_one()");
                if !comment && !is_within_process && code.to_lowercase().contains("notify") {
                    found.push(format!("{}: {code}", path.file_name().unwrap().to_string_lossy()));
                }
            }
        }
    }
    found.sort_unstable();
    let [declared, called] = &found[..] else { panic!("{found:#?}") };
    assert!(declared.starts_with("mod.rs: pub async fn notify("), "{declared}");
    assert!(called.starts_with("mod.rs: ") && called.contains("select pg_notify("), "{called}");
}
