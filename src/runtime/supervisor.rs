//! Tasks that must run until they are told to stop. If one ends before or panics, the process stops with an error,
//! because it would not work without the task.

use std::future::Future;
use std::sync::{Arc, OnceLock};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tasks of one stage of the shutdown.
#[derive(Clone, Debug)]
pub(super) struct Supervisor {
    tasks: TaskTracker,
    threads: Handle,
    /// Tells the tasks to end.
    pub(super) stop: CancellationToken,
    failure: Arc<TaskFailure>,
}

/// The first task of any stage that ended by itself.
#[derive(Debug, Default)]
pub(super) struct TaskFailure {
    name: OnceLock<&'static str>,
    happened: CancellationToken,
}

impl TaskFailure {
    pub(super) async fn happened(&self) {
        self.happened.cancelled().await;
    }

    pub(super) fn name(&self) -> Option<&'static str> {
        self.name.get().copied()
    }
}

impl Supervisor {
    /// For tasks that run on these threads.
    pub(super) fn new(threads: &Handle, failure: Arc<TaskFailure>) -> Self {
        Self { tasks: TaskTracker::new(), threads: threads.clone(), stop: CancellationToken::new(), failure }
    }

    /// Runs a task until it is told to stop.
    pub(super) fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let guard = Guard { name, stop: self.stop.clone(), failure: Arc::clone(&self.failure) };
        let guarded = async move {
            let _guard = guard;
            task.await;
        };
        self.tasks.spawn_on(guarded, &self.threads);
    }

    /// For tasks that may end by themselves.
    pub(super) fn tracker(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Tells all tasks to end, and waits until they have.
    pub(super) async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

struct Guard {
    name: &'static str,
    stop: CancellationToken,
    failure: Arc<TaskFailure>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.stop.is_cancelled() {
            tracing::error!(task = self.name, "task {} ended by itself, the service stops", self.name);
            self.failure.name.get_or_init(|| self.name);
            self.failure.happened.cancel();
        }
    }
}
