//! The program `pushpost` as child processes of a test: started, asked, signalled, killed.

mod child;
mod cluster;
mod machine;
mod node;
mod posts;

pub use child::TestProcess;
pub use cluster::TestCluster;
pub use machine::{TestMachine, providers};
pub use node::{TestNode, command, free_port, program, signal};
pub use posts::{Posting, Posts, Reception, duplicates, register};
