//! First attempts that the objective is about. They are no metric of their own: `pushpost_post_to_provider_seconds` has them for all
//! lanes together, and the dashboard shows them per lane.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts first attempts of a lane.
#[derive(Debug, Default)]
pub struct LaneStarts {
    on_time: AtomicU64,
    late: AtomicU64,
}

/// First attempts since the lane began on this node.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct StartCounts {
    /// Those that began within the objective.
    pub on_time: u64,
    /// Those that began later.
    pub late: u64,
}

impl LaneStarts {
    /// Counts a first attempt.
    pub fn count(&self, is_late: bool) {
        let counter = if is_late { &self.late } else { &self.on_time };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// All so far.
    pub fn counts(&self) -> StartCounts {
        StartCounts { on_time: self.on_time.load(Ordering::Relaxed), late: self.late.load(Ordering::Relaxed) }
    }
}
