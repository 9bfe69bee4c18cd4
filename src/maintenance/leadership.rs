//! The leadership: which node performs the duties. A node leads until the other nodes judge it dead, by the same rule
//! by which jobs lose their leases (docs/queue.md#node-lease). So another node replaces a leader that hangs or can't
//! reach Postgres.
//!
//! Every node watches the heartbeats of all nodes. The leader declares nodes dead; the other nodes declare only the
//! leader dead.

use std::time::Duration;

use tokio::time::Instant;

use super::heartbeat_watch::HeartbeatWatch;
use super::orphaned_jobs::sweep;
use crate::domain::NodeId;
use crate::queue::node_lease::NodeLease;
use crate::store;
use crate::store::Session;

/// The time between two reviews of the leader. Nodes are declared dead at most this long after the node time-out.
const LEADER_REVIEW_MAX: Duration = Duration::from_secs(3);
/// The time between two reviews of a node that does not lead. It detects a dead leader at most two reviews after the
/// node time-out, and must lead within 5 s of it.
const FOLLOWER_REVIEW_MAX: Duration = Duration::from_secs(2);

/// What this node knows about the leadership, apart from what [`NodeLease::leads`] tells other modules.
#[derive(Debug, Default)]
pub(super) struct Leadership {
    watch: HeartbeatWatch,
}

impl Leadership {
    /// The time between two reviews.
    pub(super) fn review_interval(node_lease: &NodeLease) -> Duration {
        match node_lease.leading_id() {
            Some(_) => LEADER_REVIEW_MAX.min(node_lease.timeout() / 5),
            None => Self::follower_review_interval(node_lease.timeout()),
        }
    }

    fn follower_review_interval(timeout: Duration) -> Duration {
        FOLLOWER_REVIEW_MAX.min(timeout / 8)
    }

    /// Ends the leadership after an outage of Postgres: the heartbeats seen so far prove nothing, and another node may
    /// lead.
    pub(super) fn interrupt(&mut self, node_lease: &NodeLease) {
        self.watch.reset();
        if node_lease.leading_id().is_some() {
            node_lease.set_leading(None);
            node_lease.resign();
        }
    }

    /// Lets another node lead at once.
    pub(super) async fn resign(conn: &mut Session, node_lease: &NodeLease) -> Result<(), store::Error> {
        let Some(id) = node_lease.leading_id() else { return Ok(()) };
        node_lease.set_leading(None);
        store::leader::resign(conn, id).await
    }

    /// Reads the heartbeats of all nodes. Takes the leadership if no living node has it. The leader declares silent
    /// nodes dead and gives their jobs back to the queue.
    pub(super) async fn review(
        &mut self,
        conn: &mut Session,
        node_lease: &NodeLease,
    ) -> Result<(), store::Error> {
        let (me, asked) = (node_lease.id(), Instant::now());
        let nodes = store::nodes::watch(conn).await?;
        let silent = self.watch.observe(&nodes, asked, node_lease.timeout());
        let mut dead: Vec<NodeId> = nodes.iter().filter(|node| node.dead).map(|node| node.node).collect();
        let leader = nodes.iter().find(|node| node.leads && !node.dead).map(|node| node.node);
        if leader != Some(me) {
            node_lease.set_leading(None);
            if let Some(leader) = leader {
                let Some((_, beat)) = silent.iter().find(|(node, _)| *node == leader) else { return Ok(()) };
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
        node_lease.set_leading(Some(me));
        for (node, beat) in silent {
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
    use super::super::ROUND_MAX;
    use super::*;

    #[test]
    fn a_new_leader_is_found_within_the_node_time_out_and_five_seconds() {
        for timeout in [1, 5, 15, 600].map(Duration::from_secs) {
            let interval = Leadership::follower_review_interval(timeout);
            let round = ROUND_MAX.min(interval);
            let rounds = interval.as_millis().div_ceil(round.as_millis());
            // One review sees the last beat, another one sees that it is too old.
            let late = 2 * u32::try_from(rounds).unwrap() * round;
            assert!(late < Duration::from_secs(5), "{timeout:?}: {late:?}");
            assert!(interval * 4 < timeout, "four reads fit into the time-out");
        }
    }
}
