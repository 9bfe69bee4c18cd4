//! Cancelling a notification, with the answer that its sender gets.

use tokio::time::{Duration, Instant, sleep};

use super::deliveries;
use super::status::{self, NotificationState};
use crate::domain::{AppId, NotificationId, NotificationStatus};
use crate::queue::cancellation;
use crate::store::SessionPool;

/// Longest wait for lanes that hold the last devices of a notification. A lane asks each second which of its notifications
/// are cancelled, and its outcomes are recorded 250 ms later.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);
const SETTLE_POLL: Duration = Duration::from_millis(100);

/// Cancels a notification of an app, and returns it as it stands then; none if the app has no such notification. A repeat
/// changes nothing.
///
/// If lanes hold all that is left of it, this waits a little for them. So the status says in most cases whether anything
/// was stopped.
///
/// # Errors
/// See [`status::Error`]. After `OutcomeUnknown` it may be cancelled; then what is left of it ends by itself.
pub async fn cancel(
    pool: &SessionPool,
    app: AppId,
    id: NotificationId,
) -> Result<Option<NotificationState>, status::Error> {
    if !deliveries::is_of_app(pool, app, id).await? {
        return Ok(None);
    }
    cancellation::cancel(pool, app, &[id]).await?;
    let give_up = Instant::now() + SETTLE_TIMEOUT;
    loop {
        let found = status::find(pool, app, id).await?;
        let is_settled = found.as_ref().is_none_or(|state| {
            matches!(state.stored.status, NotificationStatus::Cancelled | NotificationStatus::Done)
        });
        if is_settled || Instant::now() >= give_up {
            return Ok(found);
        }
        sleep(SETTLE_POLL).await;
    }
}
