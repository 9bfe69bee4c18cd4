//! What runs for the streams of a node: notices that the log has grown, reads the rings, and ends the streams of revoked keys and
//! of clients that take nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::ring::Ring;
use super::stream::PAGE_EVENTS;
use crate::domain::App;
use crate::events::ReadError;
use crate::store::{self, SessionPool};

/// Between two looks at the end of the log, while streams are open. What this node moves to the log is noticed at once; this
/// bounds how late the events of other nodes are.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Between two checks of keys and sockets. A revoked key ends its streams within 10 s.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// At shutdown: how long streams may take to write their last line.
const LINGER: Duration = Duration::from_secs(2);
/// The pause after a page that could not be read.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Reads for the streams of a node.
#[derive(Debug)]
pub struct StreamWorker {
    shared: Arc<Shared>,
    started: mpsc::UnboundedReceiver<(Arc<App>, Arc<Ring>)>,
}

impl StreamWorker {
    pub(super) fn new(shared: Arc<Shared>, started: mpsc::UnboundedReceiver<(Arc<App>, Arc<Ring>)>) -> Self {
        Self { shared, started }
    }

    /// Runs until `stop`. `logged` changes when this node has added something to the log. `keys`: where keys are looked up.
    pub async fn run(mut self, mut logged: watch::Receiver<()>, keys: SessionPool, stop: CancellationToken) {
        let mut readers = JoinSet::new();
        let mut checks = interval(CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shared = Arc::clone(&self.shared);
        let mut has_drained = false;
        loop {
            let is_open = !shared.admission.is_empty();
            tokio::select! {
                () = stop.cancelled() => return,
                () = shared.draining.cancelled(), if !has_drained => {
                    has_drained = true;
                    end_streams(&shared).await;
                }
                Some((app, ring)) = self.started.recv() => {
                    readers.spawn(read(Arc::clone(&shared), app, ring));
                }
                Some(_) = readers.join_next() => {}
                () = shared.admission.changed.notified() => {}
                Ok(()) = logged.changed(), if is_open => read_head(&shared).await,
                () = sleep(POLL_INTERVAL), if is_open => read_head(&shared).await,
                _ = checks.tick(), if is_open => check(&shared, &keys).await,
            }
        }
    }
}

/// Waits until streams have written their last line, then cuts those that have not.
async fn end_streams(shared: &Shared) {
    let all_ended = async {
        while !shared.admission.is_empty() {
            shared.admission.changed.notified().await;
        }
    };
    if timeout(LINGER, all_ended).await.is_err() {
        shared.admission.cut_all();
    }
}

async fn read_head(shared: &Shared) {
    match shared.reader.head().await {
        Ok(head) => {
            shared.head.send_if_modified(|known| {
                let has_grown = head > *known;
                *known = head.max(*known);
                has_grown
            });
        }
        Err(error) => tracing::debug!(%error, "the end of the event log can't be read; it is tried again"),
    }
}

async fn check(shared: &Shared, keys: &SessionPool) {
    let stalled = shared.admission.cut_stalled();
    if stalled > 0 {
        tracing::info!(stalled, "event streams that take nothing are closed");
    }
    let open = shared.admission.keys();
    let valid = async {
        let mut conn = keys.acquire().await.map_err(store::Error::from)?;
        store::keys::still_valid(&mut conn, &open).await
    };
    match valid.await {
        Ok(valid) => shared.admission.end_revoked(&open, &valid),
        Err(error) => tracing::debug!(%error, "the keys of event streams can't be checked"),
    }
}

/// Reads what is new into a ring, until no stream uses it.
async fn read(shared: Arc<Shared>, app: Arc<App>, ring: Arc<Ring>) {
    let mut head = shared.head.subscribe();
    let filter = ring.filter();
    loop {
        let end = *head.borrow_and_update();
        while ring.end() < end {
            match shared.reader.newest_page(&app, ring.end(), end, &filter, PAGE_EVENTS).await {
                Ok(page) => ring.push(page),
                // After an outage of days: streams find out by a page of their own.
                Err(ReadError::Expired { .. }) => ring.skip_to(end),
                Err(ReadError::Store(error)) => {
                    tracing::debug!(%error, app = app.name, "events can't be read; it is tried again");
                    sleep(RETRY_PAUSE).await;
                }
            }
            if ring.unused.is_cancelled() {
                return;
            }
        }
        tokio::select! {
            () = ring.unused.cancelled() => return,
            changed = head.changed() => if changed.is_err() { return },
        }
    }
}
