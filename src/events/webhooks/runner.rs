//! Leases the webhooks that have something to deliver, and serves each in a task of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::delivery::Deliverer;
use super::services::WebhookServices;

/// How often a node that has webhooks asks what is due. That is for events that other nodes have sequenced and do not serve, and for
/// leases of dead nodes. Events that this node sequences are served at once, and its failures when they are due.
const POLL_INTERVAL: Duration = Duration::from_secs(10);
/// How often it asks while Postgres does not answer.
const RECOVERY_INTERVAL: Duration = Duration::from_secs(1);
/// How often the names of the configuration are entered anew, which shows that they are in use.
const ENTER_INTERVAL: Duration = Duration::from_secs(3600);

/// Serves webhooks until told to stop. A node without webhooks sends no statement.
pub async fn run(
    services: Arc<WebhookServices>,
    max_in_flight: usize,
    mut logged: watch::Receiver<()>,
    stop: CancellationToken,
) {
    let mut entered_at = Instant::now();
    let mut serving = JoinSet::new();
    let mut is_failing = false;
    while !stop.is_cancelled() {
        let scope = services.registry.scope();
        if entered_at.elapsed() > ENTER_INTERVAL {
            entered_at = Instant::now();
            services.enter().await;
        }
        let has_webhooks = !scope.declared.is_empty() || !scope.apps.is_empty();
        let room = max_in_flight.saturating_sub(serving.len());
        if has_webhooks && room > 0 {
            match services.claim(&scope, room).await {
                Ok(leased) => {
                    is_failing = false;
                    for held in leased {
                        let deliverer = Deliverer::new(Arc::clone(&services), held, stop.clone());
                        serving.spawn(deliverer.run());
                    }
                }
                Err(error) if is_failing => tracing::debug!(%error, "webhooks still can't be leased"),
                Err(error) => {
                    is_failing = true;
                    tracing::warn!(%error, detail = "events wait in the log meanwhile", "webhooks can't be leased");
                }
            }
        }
        let interval = if is_failing { RECOVERY_INTERVAL } else { POLL_INTERVAL };
        tokio::select! {
            () = stop.cancelled() => break,
            () = services.registry.woken() => {}
            Ok(()) = logged.changed(), if has_webhooks => {}
            () = sleep(interval), if has_webhooks => {}
            () = services.registry.due() => {}
            Some(_) = serving.join_next() => {}
        }
    }
    // An attempt under way ends within its time, and is recorded.
    while serving.join_next().await.is_some() {}
}
