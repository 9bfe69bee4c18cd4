//! NOTIFY is a hint, polling is the truth: a lost one costs at most a second.
//!
//! No transaction of accept or recorder contains one, since a transaction that notifies takes a lock over the whole
//! cluster (9,397 commits a second became 3,111, docs/queue.md#no-notify-in-transactions). Instead, one debounced
//! NOTIFY per lane goes out after the commit, from a connection of its own, and only while other nodes live.

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

/// At most one NOTIFY per lane in this time; the first goes at once.
const DEBOUNCE: Duration = Duration::from_millis(20);
const RECONNECT: Duration = Duration::from_secs(2);
const CHANNEL: &str = "pushpost_lane";

/// Says instead of a lane that operators decided something about lanes.
const DECISION: LaneId = LaneId(0);
/// Says instead of a lane that an audience is to be found.
const FAN_OUT: LaneId = LaneId(-1);

/// Says which lanes have work waiting, to this node's lanes at once and to others debounced.
#[derive(Clone, Debug)]
pub struct Notifier {
    intakes: Arc<LaneIntakes>,
    node_lease: Arc<NodeLease>,
    others: Arc<Others>,
    decision: Arc<Notify>,
    fan_outs: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Others {
    lanes: Mutex<BTreeSet<LaneId>>,
    some: Notify,
}

impl Notifier {
    /// Wakes `intakes` here.
    pub fn new(intakes: Arc<LaneIntakes>, node_lease: Arc<NodeLease>) -> Self {
        Self {
            intakes,
            node_lease,
            others: Arc::default(),
            decision: Arc::default(),
            fan_outs: Arc::default(),
        }
    }

    /// One that wakes nobody.
    #[cfg(test)]
    pub fn idle() -> Self {
        Self::new(Arc::default(), Arc::new(NodeLease::alone()))
    }

    /// A job of this range waits, and may be due.
    pub fn notify_waiting(&self, lane: LaneId, class: Class, priority: Priority) {
        if let Some(intake) = self.intakes.get(lane) {
            intake.mark_waiting(class, priority);
        }
        self.tell_others(lane);
    }

    /// A job of this range was given back as it was.
    pub fn notify_released(&self, lane: LaneId, class: Class, priority: Priority) {
        if let Some(intake) = self.intakes.get(lane) {
            intake.mark_released(class, priority);
        }
        self.tell_others(lane);
    }

    /// An audience is to be found, page by page.
    pub fn notify_fan_out(&self) {
        self.fan_outs.notify_one();
        self.tell_others(FAN_OUT);
    }

    /// Is notified when an audience is to be found.
    pub fn fan_outs(&self) -> Arc<Notify> {
        Arc::clone(&self.fan_outs)
    }

    /// Operators decided something about lanes: every node is to look now.
    pub fn notify_decision(&self) {
        self.decision.notify_one();
        self.tell_others(DECISION);
    }

    /// Returns when something was decided since the last call returned.
    pub async fn wait_for_decision(&self) {
        self.decision.notified().await;
    }

    fn tell_others(&self, lane: LaneId) {
        if self.node_lease.has_peers() {
            self.others.lanes.lock().unwrap_or_else(PoisonError::into_inner).insert(lane);
            self.others.some.notify_one();
        }
    }

    /// Sends the notifications, until told to stop.
    pub async fn run_sender(self, pool: SessionPool, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.others.some.notified() => {}
            }
            let lanes =
                std::mem::take(&mut *self.others.lanes.lock().unwrap_or_else(PoisonError::into_inner));
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

    /// Wakes this node's lanes when other nodes say so, until told to stop.
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
