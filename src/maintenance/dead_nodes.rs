//! Which nodes stand still, and sweeping the jobs of dead ones.
//!
//! A node is dead when its watcher has *itself seen* the same beat for the node time-out of its own monotonic clock,
//! with at least four successful reads in that time and none failed: an outage of Postgres kills nobody, and clocks do
//! not matter (docs/queue.md#node-lease).

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::NodeId;
use crate::store;
use crate::store::Session;
use crate::store::nodes::WatchedNode;

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

    /// Takes in one reading of all nodes that was asked for at `asked`. Returns the living nodes whose heartbeat has
    /// stood still for the node time-out, each with the count at which it stands.
    pub(super) fn stood_still(
        &mut self,
        nodes: &[WatchedNode],
        asked: Instant,
        timeout: Duration,
    ) -> Vec<(NodeId, i64)> {
        self.seen.retain(|node, _| nodes.iter().any(|watched| watched.node == *node && !watched.dead));
        let mut still = Vec::new();
        for node in nodes.iter().filter(|node| !node.dead) {
            // A count is known from its answer on, and was still the same when the latest reading was asked for.
            let first = Seen { beat: node.beat, since: Instant::now(), reads: 0 };
            let seen = self.seen.entry(node.node).or_insert(first);
            if seen.beat != node.beat {
                *seen = first;
            }
            seen.reads += 1;
            if seen.reads >= LEAST_READS && asked.saturating_duration_since(seen.since) >= timeout {
                still.push((node.node, node.beat));
            }
        }
        still
    }
}

/// Gives the jobs of dead nodes back to the queue.
pub async fn sweep(conn: &mut Session, dead: &[NodeId]) -> Result<(), store::Error> {
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

    fn stood_still(watch: &mut Watch, nodes: &[WatchedNode]) -> Vec<(NodeId, i64)> {
        watch.stood_still(nodes, Instant::now(), TIMEOUT)
    }

    fn node(beat: i64) -> [WatchedNode; 1] {
        [WatchedNode { node: NodeId(1), beat, dead: false, leads: false }]
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_stands_still_for_the_timeout_is_dead() {
        let mut watch = Watch::default();
        for _ in 0..5 {
            assert!(stood_still(&mut watch, &node(7)).is_empty());
            tokio::time::advance(Duration::from_secs(3)).await;
        }
        assert_eq!(stood_still(&mut watch, &node(7)), [(NodeId(1), 7)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_beat_or_a_failed_read_starts_the_watch_anew() {
        let mut watch = Watch::default();
        for beat in 0..20 {
            assert!(stood_still(&mut watch, &node(beat)).is_empty());
            tokio::time::advance(Duration::from_secs(3)).await;
        }
        tokio::time::advance(TIMEOUT).await;
        watch.interrupted();
        assert!(stood_still(&mut watch, &node(19)).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_gap_between_two_reads_kills_nobody() {
        let mut watch = Watch::default();
        assert!(stood_still(&mut watch, &node(7)).is_empty());
        tokio::time::advance(TIMEOUT * 10).await;
        assert!(stood_still(&mut watch, &node(7)).is_empty(), "two reads are not four");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reading_speaks_of_the_moment_at_which_it_was_asked_for() {
        let mut watch = Watch::default();
        for _ in 0..4 {
            assert!(stood_still(&mut watch, &node(7)).is_empty());
            tokio::time::advance(Duration::from_secs(3)).await;
        }
        let asked = Instant::now();
        // The answer takes so long that the node may have gone on meanwhile.
        tokio::time::advance(TIMEOUT).await;
        assert!(watch.stood_still(&node(7), asked, TIMEOUT).is_empty());
    }
}
