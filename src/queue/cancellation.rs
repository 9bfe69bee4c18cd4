//! Cancels notifications: nothing of them is sent any more that no provider has yet (docs/queue.md#cancellation).
//!
//! Lanes read for themselves which of their notifications are cancelled. What waits in the table is ended here, by the
//! request that cancels. What begins to wait only later, such as a retry, is ended by the leader, which calls [`sweep`].

use uuid::Uuid;

use crate::domain::{AppId, NotificationId};
use crate::store::{self, Session, SessionPool};

/// Jobs that one statement ends. 200 lists of 500 devices take about 60 ms.
const BATCH_JOBS: i64 = 200;
/// Notifications that one statement of a sweep reads, and one transaction cancels.
const BATCH_NOTIFICATIONS: i64 = 500;

/// How much a cancellation stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stopped {
    /// Notifications that were not done, and were not cancelled before.
    pub notifications: u64,
    /// Devices that waited.
    pub devices: u64,
}

/// Cancels existing notifications of an app, and ends their jobs that wait. A repeat changes nothing, and completes what an
/// earlier call left behind.
///
/// # Errors
/// Postgres is out of reach. After `OutcomeUnknown` they may be cancelled, and the leader ends what waits of them.
pub async fn cancel(pool: &SessionPool, app: AppId, ids: &[NotificationId]) -> Result<Stopped, store::Error> {
    let mut transaction = store::begin(pool).await?;
    store::cancellation::lock_fan_outs(&mut transaction, ids).await?;
    let cancelled = store::cancellation::mark(&mut transaction, app, ids).await?;
    store::commits::commit(pool, transaction).await?;
    let ended = async { end_waiting(&mut pool.acquire().await?, ids).await };
    let devices = ended.await.map_err(store::Error::of_partial_work)?;
    Ok(Stopped { notifications: cancelled.len() as u64, devices })
}

/// Cancels all notifications of an app with a label, page by page, each in short transactions. Those that are accepted
/// meanwhile may stay. A repeat changes nothing, and completes what an earlier call left behind.
///
/// # Errors
/// Postgres is out of reach. After `OutcomeUnknown` some may be cancelled; a repeat cancels the rest.
pub async fn cancel_label(pool: &SessionPool, app: AppId, label: &str) -> Result<Stopped, store::Error> {
    let mut total = Stopped::default();
    match cancel_pages(pool, app, label, &mut total).await {
        Ok(()) => Ok(total),
        Err(error) if total.notifications > 0 => Err(error.of_partial_work()),
        Err(error) => Err(error),
    }
}

/// As [`cancel_label`]. `total` is what was stopped, also after an error.
async fn cancel_pages(
    pool: &SessionPool,
    app: AppId,
    label: &str,
    total: &mut Stopped,
) -> Result<(), store::Error> {
    let mut after = NotificationId(Uuid::nil());
    loop {
        let mut conn = pool.acquire().await?;
        let page = store::cancellation::labelled(&mut conn, app, label, after, BATCH_NOTIFICATIONS).await?;
        drop(conn);
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = *last;
        let open: Vec<NotificationId> =
            page.iter().filter(|(_, is_open)| *is_open).map(|(id, _)| *id).collect();
        if !open.is_empty() {
            let stopped = cancel(pool, app, &open).await?;
            total.notifications += stopped.notifications;
            total.devices += stopped.devices;
        }
        if (page.len() as i64) < BATCH_NOTIFICATIONS {
            return Ok(());
        }
    }
}

/// Ends what waits of all cancelled notifications.
///
/// # Errors
/// Postgres is out of reach. A repeat ends the rest.
pub async fn sweep(conn: &mut Session) -> Result<(), store::Error> {
    let mut after = NotificationId(Uuid::nil());
    loop {
        let ids = store::cancellation::pending(conn, after, BATCH_NOTIFICATIONS).await?;
        let Some(last) = ids.last() else { return Ok(()) };
        after = *last;
        end_waiting(conn, &ids).await?;
        store::cancellation::settle(conn, &ids).await?;
        if (ids.len() as i64) < BATCH_NOTIFICATIONS {
            return Ok(());
        }
    }
}

/// Ends the waiting jobs of cancelled notifications, each batch in a transaction of its own. Returns the number of devices
/// that were stopped.
async fn end_waiting(conn: &mut Session, ids: &[NotificationId]) -> Result<u64, store::Error> {
    let mut devices = 0;
    loop {
        let ended = store::waiting_jobs::cancel(conn, ids, BATCH_JOBS).await?;
        devices += ended.cancelled;
        if ended.jobs < BATCH_JOBS.cast_unsigned() {
            return Ok(devices);
        }
    }
}
