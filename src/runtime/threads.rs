//! Threads of parts that have more to do at times than the machine can: on the same threads, requests and the heartbeat would
//! wait behind them at each step. Each has a priority of its own, because all of them share the cores.

use std::io;

use rustix::process::setpriority_process;
use tokio::runtime::{Builder, Handle, Runtime};

/// Which part the threads belong to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// The lanes and the recorder. During a broadcast thousands of attempts are ready at any time, and as many outcomes to
    /// be recorded.
    Lanes,
    /// What reads the event log for streams and webhooks. Behind a burst it has an event or two per notification to write as
    /// JSON and to post, which may come later.
    Events,
}

impl Part {
    fn thread_name(self) -> &'static str {
        match self {
            Self::Lanes => "lanes",
            Self::Events => "events",
        }
    }

    /// Priority of the threads; that of requests is 0. Where all want more time than there is, each step of 5 has a third of
    /// the time of the step before.
    fn nice(self) -> i32 {
        match self {
            Self::Lanes => 5,
            Self::Events => 10,
        }
    }
}

/// As many threads as the machine has cores, with a lower priority than those of requests.
#[derive(Debug)]
pub(super) struct PartThreads {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl PartThreads {
    /// # Errors
    /// The system refuses the threads.
    pub(super) fn start(part: Part) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .thread_name(part.thread_name())
            .on_thread_start(move || lower_priority(part))
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
fn lower_priority(part: Part) {
    if let Err(error) = setpriority_process(None, part.nice()) {
        tracing::debug!(%error, threads = part.thread_name(), "priority of threads can't be lowered");
    }
}

impl Drop for PartThreads {
    /// Tasks that still run end at their next await.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
