//! Which node leads. A leader leads while its node lives, as the other nodes judge it: by the rule by which jobs lose
//! their leases (docs/queue.md#node-lease). So a leader that hangs, or that is cut off from Postgres, is followed by
//! another.
//!
//! Every node watches the heartbeats of all. The leader calls nodes dead; the others call nobody dead but the leader.

use std::time::Duration;

use tokio::time::Instant;

use super::dead_nodes::{Watch, sweep};
use crate::domain::NodeId;
use crate::queue::node_lease::NodeLease;
use crate::store;
use crate::store::Session;

/// The leader watches so often: its node time-out is as exact as this.
const WATCH_MAX: Duration = Duration::from_secs(3);
/// Nodes that do not lead watch so often. A leader is seen to stand still at most two such times after the node time-out;
/// another is to lead within 5 s of it.
const WATCH_LEADER_MAX: Duration = Duration::from_secs(2);

/// The leadership as this node knows it.
#[derive(Debug, Default)]
pub(super) struct Leadership {
    watch: Watch,
    /// The id under which this node was seen to lead.
    lease: Option<NodeId>,
}

impl Leadership {
    /// Does this node lead? No longer once its heartbeat is so old that another node may lead soon.
    pub(super) fn is_held(&self, node_lease: &NodeLease) -> bool {
        self.lease.is_some_and(|lease| node_lease.may_start(lease))
    }

    /// Time between two reviews.
    pub(super) fn review_interval(&self, timeout: Duration) -> Duration {
        match self.lease {
            Some(_) => WATCH_MAX.min(timeout / 5),
            None => WATCH_LEADER_MAX.min(timeout / 8),
        }
    }

    /// A duty failed: what was watched before proves nothing, and another node shall lead.
    pub(super) fn interrupt(&mut self, node_lease: &NodeLease) {
        self.watch.interrupted();
        if self.lease.take().is_some() {
            node_lease.resign();
        }
    }

    /// Lets another node lead at once.
    pub(super) async fn resign(&self, conn: &mut Session) -> Result<(), store::Error> {
        match self.lease {
            Some(lease) => store::leader::resign(conn, lease).await,
            None => Ok(()),
        }
    }

    /// Watches all nodes once. Takes the leadership over where no living node has it. The leader calls nodes dead that
    /// stand still and frees what dead nodes hold.
    pub(super) async fn review(
        &mut self,
        conn: &mut Session,
        node_lease: &NodeLease,
    ) -> Result<(), store::Error> {
        let (me, asked) = (node_lease.id(), Instant::now());
        let nodes = store::nodes::watch(conn).await?;
        let still = self.watch.stood_still(&nodes, asked, node_lease.timeout());
        let mut dead: Vec<NodeId> = nodes.iter().filter(|node| node.dead).map(|node| node.node).collect();
        let leader = nodes.iter().find(|node| node.leads && !node.dead).map(|node| node.node);
        if leader != Some(me) {
            self.lease = None;
            if let Some(leader) = leader {
                let Some((_, beat)) = still.iter().find(|(node, _)| *node == leader) else { return Ok(()) };
                if store::nodes::mark_dead(conn, leader, *beat).await? {
                    tracing::warn!(node = leader.0, "the leader, node {leader}, has stopped beating");
                    dead.push(leader);
                }
            }
            if !store::leader::try_lead(conn, me).await? {
                return Ok(());
            }
            tracing::info!(node = me.0, "this node leads");
        }
        self.lease = Some(me);
        for (node, beat) in still {
            if !dead.contains(&node) && store::nodes::mark_dead(conn, node, beat).await? {
                tracing::warn!(node = node.0, "node {node} has stopped beating: its jobs go to others");
                dead.push(node);
            }
        }
        if dead.is_empty() {
            return Ok(());
        }
        sweep(conn, &dead).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::ROUND;
    use super::*;

    #[test]
    fn another_leads_within_the_node_time_out_and_five_seconds() {
        for timeout in [1, 5, 15, 600].map(Duration::from_secs) {
            let interval = Leadership::default().review_interval(timeout);
            let round = ROUND.min(interval);
            let rounds = interval.as_millis().div_ceil(round.as_millis());
            // Once until the last beat is seen, and once until it is seen to be too old.
            let late = 2 * u32::try_from(rounds).unwrap() * round;
            assert!(late < Duration::from_secs(5), "{timeout:?}: {late:?}");
            assert!(interval * 4 < timeout, "four readings fit into the time-out");
        }
    }
}
