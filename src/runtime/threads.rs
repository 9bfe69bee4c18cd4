//! The threads of the lanes and the recorder. During a broadcast thousands of attempts are ready at any time, and as
//! many outcomes to be recorded. On the same threads, requests and the heartbeat would wait behind them at each step.

use std::io;

use rustix::process::setpriority_process;
use tokio::runtime::{Builder, Handle, Runtime};

/// Priority of these threads. Sending in bulk uses all the time that it gets; requests need little time, but soon.
const NICE: i32 = 5;

/// As many threads as the machine has cores, with a slightly lower priority than the other threads.
#[derive(Debug)]
pub(super) struct LaneThreads {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl LaneThreads {
    /// # Errors
    /// The system refuses the threads.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .thread_name("lanes")
            .on_thread_start(lower_priority)
            .enable_all()
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Spawns tasks on these threads.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}

/// Lowers the priority of the current thread. Linux keeps a priority per thread, and takes "this process" as this
/// thread.
fn lower_priority() {
    if let Err(error) = setpriority_process(None, NICE) {
        tracing::debug!(%error, "priority of the sending threads can't be lowered");
    }
}

impl Drop for LaneThreads {
    /// Tasks that still run end at their next await.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
