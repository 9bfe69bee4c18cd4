//! Runs the sequencer: 100 ms after this node's commits, and when the heartbeat's tick finds facts that wait. Every node does it,
//! and needs no agreement: while one session sequences, the others skip it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::store::events::{Sequenced, sequence};
use crate::store::{self, SessionPool};
use crate::telemetry::metrics::Metrics;

/// Facts that are committed within this time share a run.
const GATHER_TIME: Duration = Duration::from_millis(100);
/// Rows of the outbox that one run moves: some milliseconds, also of a full outbox.
const ROWS_MAX: i64 = 500;
/// Pause after a failure. Facts wait in the table.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long a node that shuts down moves what it has written last. Other nodes, or the next start, move the rest.
const LAST_RUN_MAX: Duration = Duration::from_secs(1);

/// The sequencer of a node.
pub struct Sequencer {
    /// Sessions set up as those of the queue.
    pub pool: SessionPool,
    /// Where the events are counted.
    pub metrics: Arc<Metrics>,
    /// Is sent to whenever this node has added something to the log.
    pub logged: watch::Sender<()>,
}

impl Sequencer {
    /// Runs until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let new_events = self.pool.new_events();
        let mut has_failed = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = new_events.notified() => {}
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(GATHER_TIME) => {}
            }
            let Err(error) = self.move_all().await else {
                has_failed = false;
                continue;
            };
            if has_failed {
                tracing::debug!(%error, "events still wait");
            } else {
                let detail = "facts wait in the table event_outbox; it is tried again";
                tracing::warn!(server = self.pool.addresses(), %error, detail, "events are not logged");
            }
            has_failed = true;
            new_events.notify_one();
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(RETRY_INTERVAL) => {}
            }
        }
        let _late = timeout(LAST_RUN_MAX, self.move_all()).await;
    }

    /// Moves what is there, in as many runs as it takes.
    async fn move_all(&self) -> Result<(), store::Error> {
        let mut conn = self.pool.acquire().await?;
        loop {
            let moved = sequence(&mut conn, ROWS_MAX).await?;
            self.count(&moved);
            let limit = ROWS_MAX.unsigned_abs();
            if moved.taken < limit && moved.ended_late < limit {
                return Ok(());
            }
        }
    }

    fn count(&self, moved: &Sequenced) {
        for (kind, events) in &moved.events {
            self.metrics.events.logged(*kind).inc_by(*events);
        }
        if !moved.events.is_empty() {
            self.logged.send_replace(());
        }
    }
}

impl fmt::Debug for Sequencer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sequencer").finish_non_exhaustive()
    }
}
