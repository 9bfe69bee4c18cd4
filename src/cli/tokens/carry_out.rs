//! Waits until a run has ended. Where no node lives, the command carries the run out itself.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::output::{RunOutput, bar, show};
use crate::cli::command_error::CommandError;
use crate::cli::signals::StopSignals;
use crate::config::Config;
use crate::domain::NodeId;
use crate::pruning::cleanups::{self, CleanupWorker};
use crate::runtime::Database;
use crate::store;
use crate::store::cleanups::CleanupRun;
use crate::store::{Session, SessionPool};

/// Between two looks at a run that a node carries out.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Waits for the end of a run, and shows its progress. Ends early, with an error, at a signal.
pub(super) async fn carry_out(
    database: &Database,
    config: &Config,
    output: &RunOutput,
    run: CleanupRun,
    signals: &mut StopSignals,
) -> Result<CleanupRun, CommandError> {
    let bar = bar();
    let id = output.id(&run);
    let mut work = Work {
        app: output.app.clone(),
        pool: database.pool().clone(),
        maintenance: database.maintenance_pool(),
        nodes: NodeWatch::new(config.delivery.node_timeout, database.was_alone()),
        is_ours: false,
    };
    let ended = tokio::select! {
        ended = work.until_end(run, |run| show(&bar, run)) => Some(ended),
        () = signals.next() => None,
    };
    bar.finish_and_clear();
    match ended {
        Some(ended) => Ok(ended?),
        None => {
            let goes_on = match work.is_ours {
                true => format!(
                    "the run is not at its end; the next node goes on with it, or pushpost tokens show {id} --wait"
                ),
                false => format!(
                    "the run goes on on a node; pushpost tokens show {id} tells how it stands, pushpost tokens cancel {id} stops it"
                ),
            };
            Err(CommandError::failed("interrupted").hint(goes_on))
        }
    }
}

struct Work {
    /// The name of the run's app.
    app: String,
    pool: SessionPool,
    maintenance: SessionPool,
    nodes: NodeWatch,
    /// No node lives, so this command carries the run out.
    is_ours: bool,
}

impl Work {
    async fn until_end(
        &mut self,
        mut run: CleanupRun,
        on_progress: impl Fn(&CleanupRun),
    ) -> anyhow::Result<CleanupRun> {
        let mut worker = CleanupWorker::default();
        worker.name_app(run.app, &self.app);
        while run.status.is_active() {
            on_progress(&run);
            let pause = if self.is_ours {
                let mut conn = self.maintenance.acquire().await.map_err(store::Error::from)?;
                worker.step(&mut conn).await?.pause().unwrap_or_default()
            } else {
                let mut conn = self.pool.acquire().await.map_err(store::Error::from)?;
                self.is_ours = !self.nodes.is_any_alive(&mut conn).await?;
                if self.is_ours { Duration::ZERO } else { LOOK_INTERVAL }
            };
            sleep(pause).await;
            let found = cleanups::find(&self.pool, run.app, run.id).await?;
            run = found.ok_or_else(|| anyhow::anyhow!("the run was deleted"))?;
        }
        Ok(run)
    }
}

/// Whether any node lives, by its heartbeat: a process that was killed leaves its row.
struct NodeWatch {
    timeout: Duration,
    beats: HashMap<NodeId, i64>,
    /// When a heartbeat was last seen to rise; at first the start.
    seen_at: Instant,
    was_alone: bool,
}

impl NodeWatch {
    /// `was_alone`: no other process used the embedded database when this command opened it.
    fn new(timeout: Duration, was_alone: bool) -> Self {
        Self { timeout, beats: HashMap::new(), seen_at: Instant::now(), was_alone }
    }

    async fn is_any_alive(&mut self, conn: &mut Session) -> Result<bool, store::Error> {
        let nodes = store::nodes::watch(conn).await?;
        let mut has_living = false;
        for node in nodes.iter().filter(|node| !node.dead) {
            has_living = true;
            let before = self.beats.insert(node.node, node.beat);
            if before.is_some_and(|before| before != node.beat) {
                (self.seen_at, self.was_alone) = (Instant::now(), false);
            }
        }
        Ok(has_living && !self.was_alone && self.seen_at.elapsed() < self.timeout)
    }
}
