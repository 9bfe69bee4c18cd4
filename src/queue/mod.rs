//! The durable queue: accepting, claiming, leasing and recording jobs. docs/queue.md has its rules.
//!
//! - [`accept`] stores a notification. Its jobs are handed to a lane of this node ([`lane_intake`]) or wait in the
//!   table.
//! - [`claim`] takes waiting jobs for a lane. A claimed job is leased to the node ([`node_lease`]), never locked.
//! - [`leases`] lists the jobs that this node has in memory.
//! - [`recorder`] records the outcomes of devices.
//! - [`heartbeat`] keeps the node's lease and asks which jobs are due.
//! - [`notifier`] tells lanes, here and on other nodes, that jobs wait.
//! - [`cancellation`] stops what is left of a notification.
//! - [`backlog`] refuses notifications of an app for which too many devices wait.
//! - [`clock`] is Postgres's time.

pub mod accept;
pub mod attempt_tally;
pub mod backlog;
pub mod cancellation;
pub mod claim;
pub mod clock;
pub mod heartbeat;
pub mod lane_intake;
pub mod lane_minutes;
pub mod leases;
pub mod node_lease;
pub mod notifier;
mod postgres_pace;
pub mod recorder;
