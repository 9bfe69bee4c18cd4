//! Threads of the lanes' own. While a broadcast runs, thousands of attempts are ready at any time; requests, beat and
//! records would wait behind all of them, at each step that they take.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// As many threads as the machine has cores; the operating system shares these among them and all others fairly.
#[derive(Debug)]
pub(super) struct Threads {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Threads {
    /// # Errors
    /// The operating system gives no more threads.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().thread_name("lanes").enable_all().build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Where to spawn.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Threads {
    /// Whatever still runs on them ends at its next await.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
