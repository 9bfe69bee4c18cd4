//! This node's lease. A job is leased to a node for as long as the node lives, and a node shows that it lives by
//! counting up its heartbeat (docs/queue.md#node-lease).
//!
//! Everything that claims, sends or records jobs asks here whether the node may still do so.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::clock::Clock;
use crate::domain::NodeId;
use crate::store;
use crate::store::nodes::NodeDescription;
use crate::store::{Session, SessionPool};
use crate::telemetry;

/// This node's id, the age of its last heartbeat, and Postgres's time.
#[derive(Debug)]
pub struct NodeLease {
    description: NodeDescription,
    id: AtomicI32,
    started: Instant,
    /// Milliseconds from `started` to the moment at which the last committed heartbeat was asked for.
    beat_at_ms: AtomicU64,
    /// Milliseconds from `started` to Postgres's last answer to the heartbeat task.
    answered_at_ms: AtomicU64,
    living_nodes: AtomicI64,
    /// The id under which this node leads, as the last review found; 0: it does not lead.
    leading_id: AtomicI32,
    /// The next round of the heartbeat gives the leadership up.
    is_resigning: AtomicBool,
    /// This node shuts down.
    is_draining: AtomicBool,
    /// The node's row says that it shuts down.
    is_drain_stored: AtomicBool,
    timeout: Duration,
    clock: Clock,
    /// The server and timeline on which this node's id, and the leases under it, were made.
    timeline: Mutex<Option<String>>,
}

impl NodeLease {
    /// Registers this process as a new node. Other nodes declare it dead after `timeout` without a heartbeat.
    ///
    /// # Errors
    /// Postgres is out of reach.
    pub async fn register(
        pool: &SessionPool,
        description: NodeDescription,
        timeout: Duration,
    ) -> Result<Self, store::Error> {
        let mut conn = pool.acquire().await.map_err(store::Error::from)?;
        let asked_at = Instant::now();
        let registered = store::nodes::register(&mut conn, &description).await?;
        let id = registered.node;
        telemetry::set_node(id.0);
        tracing::info!(node = id.0, name = description.name, "registered as node {id}");
        let node_lease = Self::new(description, id, timeout, Clock::new(registered.clock), asked_at);
        *node_lease.lock_timeline() = registered.timeline;
        Ok(node_lease)
    }

    /// `started`: the moment at which the registration, which is the first heartbeat, was asked for.
    fn new(
        description: NodeDescription,
        id: NodeId,
        timeout: Duration,
        clock: Clock,
        started: Instant,
    ) -> Self {
        Self {
            description,
            id: AtomicI32::new(id.0),
            started,
            beat_at_ms: AtomicU64::new(0),
            answered_at_ms: AtomicU64::new(0),
            living_nodes: AtomicI64::new(1),
            leading_id: AtomicI32::new(0),
            is_resigning: AtomicBool::new(false),
            is_draining: AtomicBool::new(false),
            is_drain_stored: AtomicBool::new(false),
            timeout,
            clock,
            timeline: Mutex::default(),
        }
    }

    /// A node without a database.
    #[cfg(test)]
    pub fn alone() -> Self {
        let clock = Clock::new(chrono::DateTime::UNIX_EPOCH);
        Self::new(
            NodeDescription::of_this_program("alone"),
            NodeId(1),
            Duration::from_secs(15),
            clock,
            Instant::now(),
        )
    }

    /// The present id. It changes when other nodes have declared this node dead.
    pub fn id(&self) -> NodeId {
        NodeId(self.id.load(Ordering::Acquire))
    }

    /// The host and the process id.
    pub fn name(&self) -> &str {
        &self.description.name
    }

    /// Postgres's time, as of the last heartbeat.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// A node is declared dead after this long without a heartbeat.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// True if an attempt may begin for a job that was leased to `node`. False if this node has been declared dead
    /// since, or if its last heartbeat is so old that it may be declared dead soon.
    pub fn may_start(&self, node: NodeId) -> bool {
        self.may_start_at(node, Instant::now())
    }

    /// As [`Self::may_start`], at a moment that the caller has read already.
    pub fn may_start_at(&self, node: NodeId, moment: Instant) -> bool {
        self.id() == node && self.since_beat_at(moment) < self.timeout * 2 / 3
    }

    /// True if other nodes live.
    pub fn has_peers(&self) -> bool {
        self.living_nodes.load(Ordering::Relaxed) > 1
    }

    /// Time since the last committed heartbeat was asked for. It counts from the request, because the answer may be
    /// late, and other nodes watch the heartbeat from its commit on.
    pub fn since_beat(&self) -> Duration {
        self.since_beat_at(Instant::now())
    }

    fn since_beat_at(&self, moment: Instant) -> Duration {
        let last = Duration::from_millis(self.beat_at_ms.load(Ordering::Acquire));
        moment.saturating_duration_since(self.started).saturating_sub(last)
    }

    /// Notes that Postgres has answered the heartbeat task.
    pub fn note_answer(&self) {
        self.answered_at_ms.store(self.elapsed_ms(), Ordering::Release);
    }

    /// Time since Postgres's last answer to the heartbeat task.
    pub fn since_answer(&self) -> Duration {
        let last = Duration::from_millis(self.answered_at_ms.load(Ordering::Acquire));
        self.started.elapsed().saturating_sub(last)
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Counts the heartbeat up once, and reads Postgres's time. A node that was declared dead registers again under a
    /// new id. So does a node that finds the database on another timeline, because its jobs may not exist there.
    ///
    /// # Errors
    /// Postgres is out of reach.
    pub async fn beat(&self, conn: &mut Session) -> Result<(), store::Error> {
        let asked_at_ms = self.elapsed_ms();
        let is_draining = self.is_draining.load(Ordering::Acquire);
        match store::nodes::beat(conn, self.id(), is_draining).await? {
            Some(beat) if beat.timeline == *self.lock_timeline() => {
                self.living_nodes.store(beat.living_nodes, Ordering::Relaxed);
                self.clock.set(beat.clock);
            }
            Some(_) => {
                store::nodes::deregister(conn, self.id()).await?;
                self.register_again(
                    conn,
                    "the database is on another timeline: this node drops what it holds",
                )
                .await?;
            }
            None => self.register_again(conn, "declared dead by the leader").await?,
        }
        self.beat_at_ms.store(asked_at_ms, Ordering::Release);
        self.is_drain_stored.store(is_draining, Ordering::Release);
        Ok(())
    }

    /// Goes on under a new id. What was leased under the old one starts no attempt any more.
    async fn register_again(&self, conn: &mut Session, cause: &str) -> Result<(), store::Error> {
        let registered = store::nodes::register(conn, &self.description).await?;
        let id = registered.node;
        telemetry::set_node(id.0);
        tracing::warn!(was = self.id().0, node = id.0, "{cause}; going on as node {id}");
        self.id.store(id.0, Ordering::Release);
        self.clock.set(registered.clock);
        *self.lock_timeline() = registered.timeline;
        Ok(())
    }

    fn lock_timeline(&self) -> MutexGuard<'_, Option<String>> {
        self.timeline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the id under which this node leads. None: it does not lead. Called by maintenance alone.
    pub fn set_leading(&self, id: Option<NodeId>) {
        self.leading_id.store(id.map_or(0, |id| id.0), Ordering::Release);
    }

    /// The id under which this node leads, as the last review of the leader found.
    pub fn leading_id(&self) -> Option<NodeId> {
        Some(NodeId(self.leading_id.load(Ordering::Acquire))).filter(|id| id.0 != 0)
    }

    /// True while this node leads. False as soon as its heartbeat is so old that another node may lead soon. So at most
    /// one node finds that it leads.
    pub fn leads(&self) -> bool {
        self.leading_id().is_some_and(|id| self.may_start(id))
    }

    /// Notes that this node shuts down. The next round of the heartbeat tells it to operators.
    pub fn start_draining(&self) {
        self.is_draining.store(true, Ordering::Release);
    }

    /// Whether a heartbeat is needed before its time, because the node's row does not say yet that it shuts down.
    pub(super) fn has_unstored_drain(&self) -> bool {
        self.is_draining.load(Ordering::Acquire) && !self.is_drain_stored.load(Ordering::Acquire)
    }

    /// Asks the heartbeat to give the leadership up, if this node has it. Called when the leader's duties fail on this
    /// node while its heartbeat goes on, so that another node leads.
    pub fn resign(&self) {
        self.is_resigning.store(true, Ordering::Release);
    }

    /// Gives the leadership up if [`Self::resign`] asked for it. On the heartbeat's connection, because the connection
    /// of the duties may be the one that fails.
    pub(super) async fn resign_if_asked(&self, conn: &mut Session) -> Result<(), store::Error> {
        if self.is_resigning.load(Ordering::Acquire) {
            store::leader::resign(conn, self.id()).await?;
            self.is_resigning.store(false, Ordering::Release);
        }
        Ok(())
    }
}
