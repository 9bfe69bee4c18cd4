//! Nodes that die, that are declared dead, and that hold leases which they do not know (docs/queue.md#node-lease).

use std::sync::Arc;
use std::time::Duration;

use pushpost::domain::{DeliveryCounts, NodeId, NotificationId, Priority};
use pushpost::maintenance;
use pushpost::queue::heartbeat::Heartbeat;
use pushpost::store::SessionPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use pushpost_testkit::apps::kept;
use pushpost_testkit::held_time::{HeldTime, until};
use pushpost_testkit::postgres_proxy::PostgresProxy;
use pushpost_testkit::queue::{QueueNode, ROOM, TIMEOUT, accepted, end_all};
use pushpost_testkit::queue::{TestQueue, small_queue_pool};

const SECOND: Duration = Duration::from_secs(1);
/// Of real time.
const PATIENCE: Duration = Duration::from_secs(120);
/// A node compares what it holds with the table so often.
const COMPARISON: u64 = 10;

/// The node of each job, in the order of jobs.
async fn holders(queue: &TestQueue) -> Vec<Option<i32>> {
    sqlx::query_scalar("select node_id from jobs order by job_id")
        .fetch_all(&queue.database.pool)
        .await
        .unwrap()
}

async fn is_dead(queue: &TestQueue, node: NodeId) -> bool {
    sqlx::query_scalar("select dead_at is not null from nodes where node_id = $1")
        .bind(node.0)
        .fetch_one(&queue.database.pool)
        .await
        .unwrap()
}

async fn beat(queue: &TestQueue, node: &QueueNode) {
    node.node_lease.beat(&mut queue.pool.acquire().await.unwrap()).await.unwrap();
}

/// docs/queue.md#node-lease: the leader calls a node dead when it has watched it stand still for the node time-out, and
/// not before; its jobs wait again. A node that beats keeps its own.
#[tokio::test]
async fn the_jobs_of_a_node_without_heartbeat_wait_again() {
    assert_the_jobs_of_the_dead_wait_again(TestQueue::create().await).await;
}

/// A duty that fails in every round, at once or behind a lock, keeps the leader from no other one.
#[tokio::test]
async fn the_jobs_of_a_dead_node_wait_again_while_another_duty_fails() {
    let queue = TestQueue::create().await;
    queue.database.execute("alter table topics rename to topics_elsewhere").await;
    assert_the_jobs_of_the_dead_wait_again(queue).await;
}

async fn assert_the_jobs_of_the_dead_wait_again(queue: TestQueue) {
    let (leader, living, dying) =
        (QueueNode::enter(&queue).await, QueueNode::enter(&queue).await, QueueNode::enter(&queue).await);
    leader.accept(queue.wanted([1])).await;
    let of_living = living.take(queue.lane).await;
    leader.accept(queue.wanted([2])).await;
    let of_dying = dying.take(queue.lane).await;
    let settings = maintenance::Settings {
        pool: queue.pool.clone(),
        node_lease: Arc::clone(&leader.node_lease),
        retention: kept(30),
        apps: Arc::default(),
    };
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    let time = HeldTime::hold();
    tasks.spawn(maintenance::run(settings, stop.clone()));
    let (mut seconds, began) = (0, std::time::Instant::now());
    while !is_dead(&queue, dying.id()).await {
        time.pass(SECOND).await;
        seconds += 1;
        // The clock runs ahead of the leader's statements: how many of its seconds pass depends on the machine.
        assert!(began.elapsed() < PATIENCE, "the node stands still, and the leader does not see it");
        beat(&queue, &leader).await;
        beat(&queue, &living).await;
    }
    assert!(seconds >= TIMEOUT.as_secs(), "called dead after {seconds} s");
    until("its job waits again", async || holders(&queue).await == [Some(living.id().0), None]).await;
    // Swept again as long as it is dead: a commit may come late.
    sqlx::query("update jobs set node_id = $1 where node_id is null")
        .bind(dying.id().0)
        .execute(&queue.pool)
        .await
        .unwrap();
    while holders(&queue).await != [Some(living.id().0), None] {
        time.pass(SECOND).await;
        assert!(began.elapsed() < PATIENCE, "swept once, and never again");
        beat(&queue, &leader).await;
        beat(&queue, &living).await;
    }
    drop((of_living, of_dying));
}

/// docs/queue.md#node-lease: called dead, a node enters under a new id, and what it took before may start nothing.
#[tokio::test]
async fn a_node_declared_dead_goes_on_under_another_id() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let id = node.accept(queue.wanted([1])).await;
    let tickets = node.take(queue.lane).await;
    let old = node.id();
    assert!(node.node_lease.may_start(tickets[0].leased_job().node));
    queue.lose(old).await;
    beat(&queue, &node).await;
    assert_ne!(node.id(), old);
    assert!(!node.node_lease.may_start(tickets[0].leased_job().node));
    assert!(node.node_lease.may_start(node.id()));
    // Its lanes drop what they hold; others have the job by now, or take it.
    drop(tickets);
    node.idle().await;
    assert_eq!(holders(&queue).await, [None]);
    end_all(node.take(queue.lane).await, &accepted());
    node.idle().await;
    assert_eq!(queue.counts(id).await, DeliveryCounts { accepted: 1, ..DeliveryCounts::default() });
    node.stop().await;
}

/// docs/queue.md#failover: on another line of history, what a node holds may not exist, or be something else.
#[tokio::test]
async fn a_node_on_another_timeline_goes_on_under_another_id() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    node.accept(queue.wanted([1])).await;
    let tickets = node.take(queue.lane).await;
    let old = node.id();
    beat(&queue, &node).await;
    assert_eq!(node.id(), old);
    queue.database.execute("update installation set timeline = 'another'").await;
    beat(&queue, &node).await;
    assert_ne!(node.id(), old);
    assert!(is_dead(&queue, old).await, "others free what it does not");
    assert!(!node.node_lease.may_start(tickets[0].leased_job().node));
    let new = node.id();
    beat(&queue, &node).await;
    assert_eq!(node.id(), new, "once");
    drop(tickets);
    node.idle().await;
    assert_eq!(holders(&queue).await, [None]);
    node.stop().await;
}

/// docs/queue.md#failover: a failover may lose the row of a node that goes on leasing jobs until its next beat.
#[tokio::test]
async fn the_jobs_of_a_node_without_a_row_wait_again() {
    let queue = TestQueue::create().await;
    let (leader, node) = (QueueNode::enter(&queue).await, QueueNode::enter(&queue).await);
    for device in 1..=3 {
        leader.accept(queue.wanted([device])).await;
    }
    let held = node.claim(queue.lane).await;
    sqlx::query("update jobs set node_id = 2000000000 + job_id where job_id <> $1")
        .bind(held[0].job.id.0)
        .execute(&queue.pool)
        .await
        .unwrap();
    let settings = maintenance::Settings {
        pool: queue.pool.clone(),
        node_lease: Arc::clone(&leader.node_lease),
        retention: kept(30),
        apps: Arc::default(),
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(maintenance::run(settings, CancellationToken::new()));
    let mine = Some(node.id().0);
    until("the others wait again", async || holders(&queue).await == [mine, None, None]).await;
}

/// docs/queue.md#node-lease: without a committed beat for two thirds of the time-out, a node starts nothing: it may be
/// called dead.
#[tokio::test]
async fn a_node_without_a_heartbeat_starts_nothing() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let time = HeldTime::hold();
    beat(&queue, &node).await;
    time.pass(Duration::from_secs(9)).await;
    assert!(node.node_lease.may_start(node.id()));
    time.pass(Duration::from_secs(2)).await;
    assert!(!node.node_lease.may_start(node.id()));
    beat(&queue, &node).await;
    assert!(node.node_lease.may_start(node.id()));
}

/// docs/queue.md#node-lease: the others watch a beat from its commit on, however late its answer comes.
#[tokio::test]
async fn a_heartbeat_counts_from_the_moment_of_its_request() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    let time = HeldTime::hold();
    let mut lock = pushpost::store::begin(&queue.database.pool).await.unwrap();
    sqlx::query("select from nodes for update").fetch_all(&mut *lock).await.unwrap();
    let (node_lease, pool) = (Arc::clone(&node.node_lease), queue.pool.clone());
    let mut beating = JoinSet::new();
    beating.spawn(async move { node_lease.beat(&mut pool.acquire().await.unwrap()).await });
    until("the beat waits for the lock", async || {
        queue.database.count("select count(*) from pg_locks where not granted").await > 0
    })
    .await;
    time.pass(Duration::from_secs(11)).await;
    lock.commit().await.unwrap();
    beating.join_next().await.unwrap().unwrap().unwrap();
    assert!(node.node_lease.since_beat() >= Duration::from_secs(11), "{:?}", node.node_lease.since_beat());
    assert!(!node.node_lease.may_start(node.id()), "others may call this node dead soon");
}

/// A node's heartbeat, beaten by hand.
struct Beating {
    node: QueueNode,
    time: HeldTime,
    _tasks: JoinSet<()>,
}

impl Beating {
    async fn start(node: QueueNode, pool: SessionPool) -> Self {
        let heartbeat = Heartbeat {
            pool,
            node_lease: Arc::clone(&node.node_lease),
            leases: Arc::clone(&node.leases),
            intakes: Arc::clone(&node.intakes),
            fan_outs: Arc::default(),
            tasks: TaskTracker::new(),
        };
        let (time, mut tasks) = (HeldTime::hold(), JoinSet::new());
        tasks.spawn(heartbeat.run(CancellationToken::new()));
        let beating = Self { node, time, _tasks: tasks };
        beating.round_done().await;
        beating
    }

    async fn round_done(&self) {
        until("the heartbeat has done its round", async || {
            // Timers are as exact as a millisecond.
            self.time.pass(Duration::from_millis(1)).await;
            self.node.node_lease.since_answer() < SECOND / 2
        })
        .await;
    }

    async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            self.time.pass(SECOND).await;
            self.round_done().await;
        }
    }
}

/// docs/queue.md#node-lease: what the table says that this node holds and it does not know of in two comparisons
/// running is released; what is in its hands is not, nor what changed hands in between.
#[tokio::test]
async fn a_lease_unknown_to_its_node_is_released() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    for device in 1..=3 {
        node.accept(queue.wanted([device])).await;
    }
    let mut claimed = node.claim(queue.lane).await;
    let (_, in_hand) = node.recorder.open(claimed.remove(0));
    let changing = claimed.remove(1).job.id;
    let beating = Beating::start(node, queue.pool.clone()).await;
    let me = Some(beating.node.id().0);
    beating.pass(COMPARISON + 1).await;
    assert_eq!(holders(&queue).await, [me, me, me], "one comparison proves nothing: it may be on its way");
    sqlx::query("update jobs set version = version + 2 where job_id = $1")
        .bind(changing.0)
        .execute(&queue.pool)
        .await
        .unwrap();
    beating.pass(COMPARISON).await;
    assert_eq!(holders(&queue).await, [me, None, me]);
    beating.pass(COMPARISON).await;
    assert_eq!(holders(&queue).await, [me, None, None]);
    drop(in_hand);
}

/// docs/queue.md#node-lease, #lost-commit-answer: the answer to the commit of a handed-over job is lost. The caller
/// learns that it was accepted, the room that was reserved for it comes back, and the job is released.
#[tokio::test]
async fn a_job_with_a_lost_hand_over_waits_again() {
    let queue = TestQueue::create().await;
    let proxy = PostgresProxy::of(&queue.database).await;
    let node = QueueNode::over(&queue, small_queue_pool(proxy.options(), 1)).await;
    node.open_intakes();
    let nobody = NotificationId::floor(chrono::DateTime::UNIX_EPOCH);
    proxy.cut_once(&queue.database, "select exists (select from jobs where notification_id <> $1)", nobody);
    let id = node.accept(queue.wanted(1..=7)).await;
    assert!(proxy.has_cut());
    let intake = node.intakes.get(queue.lane).unwrap();
    assert!(intake.take_handed().is_empty());
    assert!(intake.reserve(Priority::Normal, ROOM).is_some(), "the room is back");
    let beating = Beating::start(node, queue.pool.clone()).await;
    assert_eq!(holders(&queue).await, [Some(beating.node.id().0)]);
    beating.pass(2 * COMPARISON + 1).await;
    assert_eq!(holders(&queue).await, [None]);
    let tickets = beating.node.take(queue.lane).await;
    assert_eq!(tickets.len(), 7);
    end_all(tickets, &accepted());
    until("all is on record", async || {
        beating.time.pass(Duration::from_millis(1)).await;
        beating.node.leases.is_empty()
    })
    .await;
    assert_eq!(queue.counts(id).await, DeliveryCounts { accepted: 7, ..DeliveryCounts::default() });
}

/// A lane stops between the reservation and the commit of a job: the node keeps no lease of it.
#[tokio::test]
async fn a_job_committed_after_its_lane_ended_goes_back_to_the_queue() {
    let queue = TestQueue::create().await;
    let node = QueueNode::enter(&queue).await;
    node.open_intakes();
    let mut lock = pushpost::store::begin(&queue.database.pool).await.unwrap();
    sqlx::query("lock table jobs in exclusive mode").execute(&mut *lock).await.unwrap();
    let stop = async {
        until("the job waits for the lock", async || {
            queue.database.count("select count(*) from pg_locks where not granted").await > 0
        })
        .await;
        assert!(node.intakes.get(queue.lane).unwrap().end().is_empty());
        lock.commit().await.unwrap();
    };
    let (id, ()) = tokio::join!(node.accept(queue.wanted(1..=3)), stop);
    node.idle().await;
    assert_eq!(holders(&queue).await, [None]);
    let tickets = node.take(queue.lane).await;
    assert_eq!(tickets.len(), 3);
    end_all(tickets, &accepted());
    node.idle().await;
    assert_eq!(queue.counts(id).await, DeliveryCounts { accepted: 3, ..DeliveryCounts::default() });
    node.stop().await;
}

/// A connection that neither answers nor ends must not take the beat away for as long as TCP hopes.
#[tokio::test]
async fn the_heartbeat_survives_a_connection_that_died_in_silence() {
    let queue = TestQueue::create().await;
    let proxy = PostgresProxy::of(&queue.database).await;
    let node = QueueNode::enter(&queue).await;
    let beating = Beating::start(node, small_queue_pool(proxy.options(), 1)).await;
    beating.pass(4).await;
    proxy.silence();
    for _ in 0..8 {
        beating.time.pass(SECOND).await;
        for _ in 0..20 {
            queue.database.count("select 1::bigint").await;
        }
    }
    // The dead connection has been given up; another one takes as long as it takes.
    until("the node beats again", async || {
        beating.time.pass(Duration::from_millis(1)).await;
        beating.node.node_lease.since_beat() < 3 * SECOND
    })
    .await;
    assert!(
        beating.node.node_lease.may_start(beating.node.id()),
        "no beat for {:?}",
        beating.node.node_lease.since_beat()
    );
}
