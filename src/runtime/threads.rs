//! LaneThreads of the lanes' own, and of the recorder's. While a broadcast runs, thousands of attempts are ready at any time, and
//! as many outcomes to be recorded; requests and the beat would wait behind all of them, at each step that they take.

use std::io;

use rustix::process::setpriority_process;
use tokio::runtime::{Builder, Handle, Runtime};

/// What there is to send in bulk takes all the time that it gets; who answers requests needs little, but soon.
const NICE: i32 = 5;

/// As many threads as the machine has cores, a little behind all others in the operating system's queue.
#[derive(Debug)]
pub(super) struct LaneThreads {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl LaneThreads {
    /// # Errors
    /// The operating system gives no more threads.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .thread_name("lanes")
            .on_thread_start(step_back)
            .enable_all()
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Where to spawn.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}

/// Linux knows this of each thread, and "this process" is the thread that asks.
fn step_back() {
    if let Err(error) = setpriority_process(None, NICE) {
        tracing::debug!(%error, "sending goes on with the same priority as all else");
    }
}

impl Drop for LaneThreads {
    /// Whatever still runs on them ends at its next await.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
