//! This node among the others. The lease is the node's: a job is leased while its node lives, and a node shows that it
//! lives by counting up a beat (docs/queue.md#node-lease).

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::clock::Clock;
use crate::domain::NodeId;
use crate::store;
use crate::store::{Session, SessionPool};

/// This node's standing. Shared by all that takes, sends or records jobs.
#[derive(Debug)]
pub struct NodeLease {
    name: String,
    id: AtomicI32,
    started: Instant,
    /// Milliseconds from `started` to the moment at which the last committed beat was asked for.
    last_beat: AtomicU64,
    /// Milliseconds from `started` to Postgres's last answer to the heartbeat.
    last_answer: AtomicU64,
    living: AtomicI64,
    /// The leadership is to be given up with the next round of the heartbeat.
    resigning: AtomicBool,
    timeout: Duration,
    clock: Clock,
    /// The line of history on which this node's id, and the jobs leased under it, were made.
    timeline: Mutex<Option<String>>,
}

impl NodeLease {
    /// Enters this process as a new node. `timeout`: after so long without a beat others call it dead.
    ///
    /// # Errors
    /// Postgres is out of reach.
    pub async fn register(pool: &SessionPool, name: String, timeout: Duration) -> Result<Self, store::Error> {
        let mut conn = pool.acquire().await.map_err(store::Error::from)?;
        let asked = Instant::now();
        let entered = store::nodes::register(&mut conn, &name).await?;
        let id = entered.node;
        tracing::info!(node = id.0, name, "entered as node {id}");
        let node_lease = Self::new(name, id, timeout, Clock::new(entered.clock), asked);
        *node_lease.lock_timeline() = entered.timeline;
        Ok(node_lease)
    }

    /// `started`: the moment at which the node's first beat was asked for.
    fn new(name: String, id: NodeId, timeout: Duration, clock: Clock, started: Instant) -> Self {
        Self {
            name,
            id: AtomicI32::new(id.0),
            started,
            last_beat: AtomicU64::new(0),
            last_answer: AtomicU64::new(0),
            living: AtomicI64::new(1),
            resigning: AtomicBool::new(false),
            timeout,
            clock,
            timeline: Mutex::default(),
        }
    }

    /// A node without a database.
    #[cfg(test)]
    pub fn alone() -> Self {
        let clock = Clock::new(chrono::DateTime::UNIX_EPOCH);
        Self::new("alone".to_owned(), NodeId(1), Duration::from_secs(15), clock, Instant::now())
    }

    /// The present id: it changes when others have called this node dead.
    pub fn id(&self) -> NodeId {
        NodeId(self.id.load(Ordering::Acquire))
    }

    /// Postgres's time.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// After so long without a beat a node is called dead.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// May an attempt begin for a job that was taken under `lease`? Not if this node has been called dead since, nor
    /// if its last beat is so old that it may be called dead soon.
    pub fn may_start(&self, lease: NodeId) -> bool {
        self.may_start_at(lease, Instant::now())
    }

    /// The same at a moment that has just been.
    pub fn may_start_at(&self, lease: NodeId, moment: Instant) -> bool {
        self.id() == lease && self.since_beat_at(moment) < self.timeout * 2 / 3
    }

    /// Do other nodes live?
    pub fn has_peers(&self) -> bool {
        self.living.load(Ordering::Relaxed) > 1
    }

    /// Time since the last committed beat was asked for. The answer may come later by any time, and others watch the
    /// beat from its commit on.
    pub fn since_beat(&self) -> Duration {
        self.since_beat_at(Instant::now())
    }

    fn since_beat_at(&self, moment: Instant) -> Duration {
        let last = Duration::from_millis(self.last_beat.load(Ordering::Acquire));
        moment.saturating_duration_since(self.started).saturating_sub(last)
    }

    /// Postgres has answered the heartbeat.
    pub fn answered(&self) {
        self.last_answer.store(self.millis(), Ordering::Release);
    }

    /// Time since Postgres's last answer to the heartbeat.
    pub fn since_answer(&self) -> Duration {
        let last = Duration::from_millis(self.last_answer.load(Ordering::Acquire));
        self.started.elapsed().saturating_sub(last)
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Counts up once, and learns Postgres's time. Called dead, it enters under a new id; likewise where the database is on
    /// another line of history than before: what this node holds may not exist there.
    ///
    /// # Errors
    /// Postgres is out of reach.
    pub async fn beat(&self, conn: &mut Session) -> Result<(), store::Error> {
        let asked = self.millis();
        match store::nodes::beat(conn, self.id()).await? {
            Some(beat) if beat.timeline == *self.lock_timeline() => {
                self.living.store(beat.living, Ordering::Relaxed);
                self.clock.set(beat.clock);
            }
            Some(_) => {
                store::nodes::deregister(conn, self.id()).await?;
                self.enter_again(conn, "the database is on another timeline: this node drops what it holds")
                    .await?;
            }
            None => self.enter_again(conn, "called dead by the leader").await?,
        }
        self.last_beat.store(asked, Ordering::Release);
        Ok(())
    }

    /// Goes on under a new id. Whatever was taken under the old one starts no attempt any more.
    async fn enter_again(&self, conn: &mut Session, why: &str) -> Result<(), store::Error> {
        let entered = store::nodes::register(conn, &self.name).await?;
        let id = entered.node;
        tracing::warn!(was = self.id().0, node = id.0, "{why}; going on as node {id}");
        self.id.store(id.0, Ordering::Release);
        self.clock.set(entered.clock);
        *self.lock_timeline() = entered.timeline;
        Ok(())
    }

    fn lock_timeline(&self) -> MutexGuard<'_, Option<String>> {
        self.timeline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The duties of the leader fail on this node though its heartbeat may go on: another node shall lead, if this one
    /// does.
    pub fn resign(&self) {
        self.resigning.store(true, Ordering::Release);
    }

    /// Gives the leadership up if that is wanted. On the heartbeat's connection: the one of the duties may be the trouble.
    pub(super) async fn resign_if_wanted(&self, conn: &mut Session) -> Result<(), store::Error> {
        if self.resigning.load(Ordering::Acquire) {
            store::leader::resign(conn, self.id()).await?;
            self.resigning.store(false, Ordering::Release);
        }
        Ok(())
    }
}
