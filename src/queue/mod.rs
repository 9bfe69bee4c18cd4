//! Accept, claim, lease and record: the durable queue.
//!
//! A notification comes in through [`accept`], which either hands its jobs to this node's lanes ([`lane_intake`]) or leaves
//! them waiting. Lanes take waiting jobs through [`claim`]. What a job holds is leased to the node ([`node_lease`]),
//! never locked. What became of its devices goes through the [`recorder`]. [`heartbeat`] keeps the node alive and asks
//! what is due; [`notifier`] tells other nodes. [`backlog`] keeps out what would be too much.

pub mod accept;
pub mod backlog;
pub mod claim;
pub mod clock;
pub mod heartbeat;
pub mod lane_intake;
pub mod leases;
pub mod node_lease;
pub mod notifier;
pub mod recorder;
