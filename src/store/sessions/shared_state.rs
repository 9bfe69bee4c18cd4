//! What the pools of one database share: hosts, distrusted connections, tasks, and what happens after a commit.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::delivery_counts::DeliveryCounts;
use super::hosts::DatabaseHosts;
use super::orphans::{Orphans, ServerProcess};
use super::pool::PoolInner;
use crate::telemetry::metrics::PostgresMetrics;

/// What the pools of one database share.
pub(super) struct SharedPoolState {
    pub(super) hosts: DatabaseHosts,
    pub(super) generation: AtomicU64,
    pub(super) orphans: Orphans,
    tasks: TaskTracker,
    pools: Mutex<Vec<Weak<PoolInner>>>,
    pub(super) metrics: PostgresMetrics,
    pub(super) deliveries: DeliveryCounts,
    /// Is notified when the event log's outbox has something new.
    pub(super) new_events: Arc<Notify>,
    /// New connections write events.
    pub(super) logs_events: AtomicBool,
}

impl SharedPoolState {
    pub(super) fn new(hosts: DatabaseHosts, metrics: PostgresMetrics) -> Self {
        Self {
            hosts,
            generation: AtomicU64::new(0),
            orphans: Orphans::default(),
            tasks: TaskTracker::new(),
            pools: Mutex::default(),
            metrics,
            deliveries: DeliveryCounts::default(),
            new_events: Arc::default(),
            logs_events: AtomicBool::new(true),
        }
    }

    /// Adds a pool, from which distrusted connections are to be thrown away too.
    pub(super) fn add(&self, pool: &Arc<PoolInner>) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(pool));
    }

    /// Distrusts connections of this generation: no pool lends them any more. New ones belong to the next generation.
    pub(super) fn distrust(&self, generation: u64) {
        let (done, failed) = (Ordering::AcqRel, Ordering::Acquire);
        if self.generation.compare_exchange(generation, generation + 1, done, failed).is_err() {
            return;
        }
        let pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner).clone();
        pools.iter().filter_map(Weak::upgrade).for_each(|pool| pool.throw_away(generation));
    }

    /// Tells the server to end a session after its connection was thrown away.
    pub(super) fn end_on_server(self: &Arc<Self>, backend: ServerProcess) {
        if self.orphans.add(backend) {
            let shared = Arc::clone(self);
            self.spawn(async move { shared.orphans.run(&shared.hosts).await });
        }
    }

    /// Each task ends by a deadline of its own. At the end of the runtime they are dropped, and their connections
    /// close.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Ok(runtime) = Handle::try_current() {
            self.tasks.spawn_on(task, &runtime);
        }
    }
}
