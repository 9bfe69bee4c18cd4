//! Calling nodes dead, and sweeping their jobs.
//!
//! A node is dead when its watcher has *itself seen* the same beat for the node time-out of its own monotonic clock,
//! with at least four successful reads in that time and none failed: an outage of Postgres kills nobody, and clocks do
//! not matter (docs/queue.md 3).

use std::collections::HashMap;
use std::time::Duration;

use sqlx::PgConnection;
use tokio::time::Instant;

use crate::domain::NodeId;
use crate::store;
use crate::store::nodes::Watched;

const LEAST_READS: u32 = 4;
const SWEEP_AT_ONCE: i64 = 1_000;

/// What this node has seen of the others.
#[derive(Debug, Default)]
pub(super) struct Watch {
    seen: HashMap<NodeId, Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    beat: i64,
    since: Instant,
    reads: u32,
}

impl Watch {
    /// A read failed: what was seen before it proves nothing.
    pub(super) fn interrupted(&mut self) {
        self.seen.clear();
    }

    /// Looks at every node, buries those that stood still for too long, and sweeps what dead nodes hold.
    pub(super) async fn look(
        &mut self,
        conn: &mut PgConnection,
        timeout: Duration,
    ) -> Result<(), store::Error> {
        let nodes = store::nodes::watch(conn).await?;
        let mut dead: Vec<NodeId> = nodes.iter().filter(|node| node.dead).map(|node| node.node).collect();
        for (node, beat) in self.stood_still(&nodes, timeout) {
            if store::nodes::bury(conn, node, beat).await? {
                tracing::warn!(node = node.0, "node {node} has stopped beating: its jobs go to others");
                dead.push(node);
            }
        }
        if !dead.is_empty() {
            sweep(conn, &dead).await?;
        }
        Ok(())
    }

    fn stood_still(&mut self, nodes: &[Watched], timeout: Duration) -> Vec<(NodeId, i64)> {
        let now = Instant::now();
        self.seen.retain(|node, _| nodes.iter().any(|watched| watched.node == *node && !watched.dead));
        let mut still = Vec::new();
        for node in nodes.iter().filter(|node| !node.dead) {
            let seen = self.seen.entry(node.node).or_insert(Seen { beat: node.beat, since: now, reads: 0 });
            if seen.beat != node.beat {
                *seen = Seen { beat: node.beat, since: now, reads: 0 };
            }
            seen.reads += 1;
            if seen.reads >= LEAST_READS && now.duration_since(seen.since) >= timeout {
                still.push((node.node, node.beat));
            }
        }
        still
    }
}

/// Gives the jobs of dead nodes back to the queue.
pub async fn sweep(conn: &mut PgConnection, dead: &[NodeId]) -> Result<(), store::Error> {
    let mut total = 0;
    loop {
        let swept = store::jobs::sweep(conn, dead, SWEEP_AT_ONCE).await?;
        total += swept;
        if swept < SWEEP_AT_ONCE.cast_unsigned() {
            break;
        }
    }
    if total > 0 {
        tracing::info!(jobs = total, "jobs of dead nodes wait again");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(15);

    fn node(beat: i64) -> [Watched; 1] {
        [Watched { node: NodeId(1), beat, dead: false }]
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_stands_still_for_the_timeout_is_dead() {
        let mut watch = Watch::default();
        for _ in 0..5 {
            assert!(watch.stood_still(&node(7), TIMEOUT).is_empty());
            tokio::time::advance(Duration::from_secs(3)).await;
        }
        assert_eq!(watch.stood_still(&node(7), TIMEOUT), [(NodeId(1), 7)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_beat_or_a_failed_read_starts_the_watch_anew() {
        let mut watch = Watch::default();
        for beat in 0..20 {
            assert!(watch.stood_still(&node(beat), TIMEOUT).is_empty());
            tokio::time::advance(Duration::from_secs(3)).await;
        }
        tokio::time::advance(TIMEOUT).await;
        watch.interrupted();
        assert!(watch.stood_still(&node(19), TIMEOUT).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_gap_between_two_reads_kills_nobody() {
        let mut watch = Watch::default();
        assert!(watch.stood_still(&node(7), TIMEOUT).is_empty());
        tokio::time::advance(TIMEOUT * 10).await;
        assert!(watch.stood_still(&node(7), TIMEOUT).is_empty(), "two reads are not four");
    }
}
