//! The program `pushpost` as child processes of a test: started, asked, signalled, killed.

mod child;
mod cluster;
mod machine;
mod posts;

use std::path::PathBuf;
use std::sync::OnceLock;

pub use child::{PATIENCE, TestProcess};
pub use cluster::{TestCluster, TestNode};
pub use machine::{LONG, ServiceProcess, TestMachine, free_port, providers, signal};
pub use posts::{Posting, Posts, Reception, duplicates, register};

/// The program that cargo has built for this test or bench.
pub fn program() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let path = std::env::var_os("CARGO_BIN_EXE_pushpost").map(PathBuf::from).unwrap_or_else(|| {
            // Started without cargo: the test lies in `deps`, beside which the program is.
            let test = std::env::current_exe().unwrap();
            test.parent().and_then(|deps| deps.parent()).unwrap().join("pushpost")
        });
        path.into_os_string().into_string().unwrap()
    })
}
