//! Detects heartbeats that stand still. `leadership` uses it to declare nodes dead.
//!
//! A node is dead when the watching node has itself seen the same heartbeat count for the node time-out, by its own
//! monotonic clock, with at least four successful reads in that time and none that failed. So an outage of Postgres
//! kills no node, and the clocks of the hosts do not matter (docs/queue.md#node-lease).

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::NodeId;
use crate::store::nodes::WatchedNode;

/// Reads of one heartbeat count before its node counts as dead.
const READS_MIN: u32 = 4;

/// The heartbeats that this node has seen of the other nodes.
#[derive(Debug, Default)]
pub(super) struct HeartbeatWatch {
    seen: HashMap<NodeId, SeenHeartbeat>,
}

#[derive(Clone, Copy, Debug)]
struct SeenHeartbeat {
    beat: i64,
    since: Instant,
    reads: u32,
}

impl HeartbeatWatch {
    /// Starts again after a failed read, because what was seen before proves nothing.
    pub(super) fn reset(&mut self) {
        self.seen.clear();
    }

    /// Takes in one read of all nodes; `asked` is the time before the read. Returns the living nodes with a heartbeat
    /// that has stood still for the time-out, each with its heartbeat count.
    pub(super) fn observe(
        &mut self,
        nodes: &[WatchedNode],
        asked: Instant,
        timeout: Duration,
    ) -> Vec<(NodeId, i64)> {
        self.seen.retain(|node, _| nodes.iter().any(|watched| watched.node == *node && !watched.dead));
        let mut silent = Vec::new();
        for node in nodes.iter().filter(|node| !node.dead) {
            // A count is known from the end of its read on, and was unchanged at the start of the latest read.
            let first = SeenHeartbeat { beat: node.beat, since: Instant::now(), reads: 0 };
            let seen = self.seen.entry(node.node).or_insert(first);
            if seen.beat != node.beat {
                *seen = first;
            }
            seen.reads += 1;
            if seen.reads >= READS_MIN && asked.saturating_duration_since(seen.since) >= timeout {
                silent.push((node.node, node.beat));
            }
        }
        silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(15);

    fn observe(watch: &mut HeartbeatWatch, nodes: &[WatchedNode]) -> Vec<(NodeId, i64)> {
        watch.observe(nodes, Instant::now(), TIMEOUT)
    }

    fn node(beat: i64) -> [WatchedNode; 1] {
        [WatchedNode { node: NodeId(1), beat, dead: false, leads: false }]
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_stands_still_for_the_timeout_is_dead() {
        let mut watch = HeartbeatWatch::default();
        for _ in 0..5 {
            assert!(observe(&mut watch, &node(7)).is_empty());
            tokio::time::advance(Duration::from_secs(3)).await;
        }
        assert_eq!(observe(&mut watch, &node(7)), [(NodeId(1), 7)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_beat_or_a_failed_read_restarts_the_watch() {
        let mut watch = HeartbeatWatch::default();
        for beat in 0..20 {
            assert!(observe(&mut watch, &node(beat)).is_empty());
            tokio::time::advance(Duration::from_secs(3)).await;
        }
        tokio::time::advance(TIMEOUT).await;
        watch.reset();
        assert!(observe(&mut watch, &node(19)).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_gap_between_two_reads_kills_no_node() {
        let mut watch = HeartbeatWatch::default();
        assert!(observe(&mut watch, &node(7)).is_empty());
        tokio::time::advance(TIMEOUT * 10).await;
        assert!(observe(&mut watch, &node(7)).is_empty(), "two reads are not four");
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_shows_the_state_at_its_start() {
        let mut watch = HeartbeatWatch::default();
        for _ in 0..4 {
            assert!(observe(&mut watch, &node(7)).is_empty());
            tokio::time::advance(Duration::from_secs(3)).await;
        }
        let asked = Instant::now();
        // The read takes so long that the node may have beaten meanwhile.
        tokio::time::advance(TIMEOUT).await;
        assert!(watch.observe(&node(7), asked, TIMEOUT).is_empty());
    }
}
