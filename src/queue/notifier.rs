//! Tells lanes that jobs wait: those of this node at once, those of other nodes by NOTIFY.
//!
//! A notification may be lost without harm, because each node also asks once a second which jobs are due.
//!
//! No transaction that accepts or records contains a NOTIFY, because such a transaction takes a lock over the whole
//! cluster until after its flush (9,397 commits a second became 3,111, docs/queue.md#no-notify-in-transactions).
//! Instead one debounced NOTIFY per lane is sent after the commit, on a connection of its own, and only while other
//! nodes live.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::lane_intake::LaneIntakes;
use super::node_lease::NodeLease;
use crate::domain::{Class, LaneId, Priority};
use crate::store;
use crate::store::SessionPool;

/// At most one NOTIFY per lane in this time; the first one is sent at once.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// Pause before a listening connection that was lost is opened again.
const RECONNECT: Duration = Duration::from_secs(2);
const CHANNEL: &str = "pushpost_lane";

/// In place of a lane: an operator decided something about lanes.
const DECISION: LaneId = LaneId(0);
/// In place of a lane: a fan-out waits.
const FAN_OUT: LaneId = LaneId(-1);

/// Tells this node's lanes and other nodes what waits. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Notifier {
    intakes: Arc<LaneIntakes>,
    node_lease: Arc<NodeLease>,
    outgoing: Arc<Outgoing>,
    decision: Arc<Notify>,
    fan_outs: Arc<Notify>,
}

/// The lanes that other nodes are to be told of.
#[derive(Debug, Default)]
struct Outgoing {
    lanes: Mutex<BTreeSet<LaneId>>,
    is_filled: Notify,
}

impl Notifier {
    /// A notifier for the lanes of this node. Other nodes are told by [`Self::run_sender`].
    pub fn new(intakes: Arc<LaneIntakes>, node_lease: Arc<NodeLease>) -> Self {
        Self {
            intakes,
            node_lease,
            outgoing: Arc::default(),
            decision: Arc::default(),
            fan_outs: Arc::default(),
        }
    }

    /// A notifier without lanes and without other nodes.
    #[cfg(test)]
    pub fn idle() -> Self {
        Self::new(Arc::default(), Arc::new(NodeLease::alone()))
    }

    /// Tells that a job of this range waits and may be due.
    pub fn notify_waiting(&self, lane: LaneId, class: Class, priority: Priority) {
        if let Some(intake) = self.intakes.get(lane) {
            intake.mark_waiting(class, priority);
        }
        self.tell_others(lane);
    }

    /// Tells that a job of this range was released: it may lie before the due time that claims have reached.
    pub fn notify_released(&self, lane: LaneId, class: Class, priority: Priority) {
        if let Some(intake) = self.intakes.get(lane) {
            intake.mark_released(class, priority);
        }
        self.tell_others(lane);
    }

    /// Tells that a fan-out waits for its next page.
    pub fn notify_fan_out(&self) {
        self.fan_outs.notify_one();
        self.tell_others(FAN_OUT);
    }

    /// Is notified when a fan-out waits.
    pub fn fan_outs(&self) -> Arc<Notify> {
        Arc::clone(&self.fan_outs)
    }

    /// Tells that an operator decided something about lanes, so that every node reads its lanes now.
    pub fn notify_decision(&self) {
        self.decision.notify_one();
        self.tell_others(DECISION);
    }

    /// Returns when an operator has decided something since the last call returned.
    pub async fn wait_for_decision(&self) {
        self.decision.notified().await;
    }

    fn tell_others(&self, lane: LaneId) {
        if self.node_lease.has_peers() {
            self.outgoing.lanes.lock().unwrap_or_else(PoisonError::into_inner).insert(lane);
            self.outgoing.is_filled.notify_one();
        }
    }

    /// Sends the notifications to other nodes, until told to stop.
    pub async fn run_sender(self, pool: SessionPool, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.outgoing.is_filled.notified() => {}
            }
            let lanes =
                std::mem::take(&mut *self.outgoing.lanes.lock().unwrap_or_else(PoisonError::into_inner));
            let sent = async {
                let mut conn = pool.acquire().await.map_err(store::Error::from)?;
                store::lanes::notify(&mut conn, CHANNEL, lanes).await
            };
            if let Err(error) = sent.await {
                tracing::debug!(%error, "a wake-up for other nodes was lost; their next tick finds the job");
            }
            tokio::time::sleep(DEBOUNCE).await;
        }
    }

    /// Wakes this node's lanes when other nodes send notifications, until told to stop.
    pub async fn run_listener(self, pool: SessionPool, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                result = self.listen(&pool) => {
                    if let Err(error) = result {
                        tracing::debug!(%error, "not listening for wake-ups; the tick goes on");
                    }
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RECONNECT) => {}
            }
        }
    }

    async fn listen(&self, pool: &SessionPool) -> Result<(), sqlx::Error> {
        let mut listener = pool.listen(CHANNEL).await?;
        loop {
            let payload = listener.recv().await?;
            let Ok(lane) = payload.parse().map(LaneId) else { continue };
            if lane == DECISION {
                self.decision.notify_one();
            } else if lane == FAN_OUT {
                self.fan_outs.notify_one();
            } else if let Some(intake) = self.intakes.get(lane) {
                intake.mark_all_waiting();
            }
        }
    }
}
