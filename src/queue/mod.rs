//! Accept, claim, lease and record: the durable queue.
//!
//! A notification comes in through [`accept`], which either hands its jobs to this node's lanes ([`intake`]) or leaves
//! them waiting. Lanes take waiting jobs through [`claim`]. What a job holds is leased to the node ([`membership`]),
//! never locked. What became of its devices goes through the [`recorder`]. [`pulse`] keeps the node alive and asks
//! what is due; [`wake`] tells other nodes. [`backlog`] keeps out what would be too much.

pub mod accept;
pub mod backlog;
pub mod claim;
pub mod clock;
pub mod holdings;
pub mod intake;
pub mod membership;
pub mod pulse;
pub mod recorder;
pub mod wake;
