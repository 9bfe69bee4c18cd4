//! Erases a user: devices with their tokens and subscriptions, the subscriptions of the user, and what waits for the devices.
//!
//! It goes in short transactions. An erasure that is interrupted leaves a state in which every answer is right, and a repeat
//! does the rest. A device that is registered for the user meanwhile may stay.

use super::subscriptions;
use crate::domain::{AppId, DeviceId, JobId, UserId};
use crate::store;
use crate::store::erasures;
use crate::store::{Session, SessionPool};

/// Devices that are found at a time.
const FIND_DEVICES: usize = 10_000;
/// Devices that one transaction deletes, in some milliseconds.
const DELETE_DEVICES: usize = 500;
/// Subscriptions of the user that one transaction ends.
const END_SUBSCRIPTIONS: i64 = 1_000;
/// Jobs that one statement reads: up to 250,000 devices, in about 50 ms.
const PAGE_JOBS: i64 = 500;

/// What an erasure did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ErasedUser {
    /// Number of devices that were deleted.
    pub devices: u64,
    /// Number of deliveries that waited for the devices and were cancelled. What a lane has in hand is not counted.
    pub cancelled: u64,
}

/// Erases a user. There need not be one.
///
/// # Errors
/// Postgres is out of reach. After `OutcomeUnknown` a part may be done; a repeat does the rest.
pub async fn erase(pool: &SessionPool, app: AppId, user: &UserId) -> Result<ErasedUser, store::Error> {
    let mut conn = pool.acquire().await?;
    erasures::hide_user(&mut conn, app, user).await?;
    drop(conn);
    erase_hidden(pool, app, user).await.map_err(store::Error::of_partial_work)
}

async fn erase_hidden(pool: &SessionPool, app: AppId, user: &UserId) -> Result<ErasedUser, store::Error> {
    let devices = delete_devices(pool, app, user).await?;
    end_subscriptions(pool, app, user).await?;
    let mut conn = pool.acquire().await?;
    let cancelled = cancel_pending(&mut conn, app, user).await?;
    Ok(ErasedUser { devices, cancelled })
}

async fn delete_devices(pool: &SessionPool, app: AppId, user: &UserId) -> Result<u64, store::Error> {
    let mut deleted = 0;
    loop {
        let mut conn = pool.acquire().await?;
        let found = erasures::devices_of(&mut conn, app, user, FIND_DEVICES as i64).await?;
        drop(conn);
        for page in found.chunks(DELETE_DEVICES) {
            let mut transaction = store::begin(pool).await?;
            let locked = erasures::lock_devices(&mut transaction, app, user, page).await?;
            let gone = erasures::delete_devices(&mut transaction, app, user, &locked).await?;
            subscriptions::purge(&mut transaction, app, &gone.topics).await?;
            store::commits::commit(pool, transaction).await?;
            deleted += gone.count;
        }
        if found.len() < FIND_DEVICES {
            return Ok(deleted);
        }
    }
}

async fn end_subscriptions(pool: &SessionPool, app: AppId, user: &UserId) -> Result<(), store::Error> {
    loop {
        let mut transaction = store::begin(pool).await?;
        let topics = erasures::end_subscriptions(&mut transaction, app, user, END_SUBSCRIPTIONS).await?;
        subscriptions::purge(&mut transaction, app, &topics).await?;
        store::commits::commit(pool, transaction).await?;
        if (topics.len() as i64) < END_SUBSCRIPTIONS {
            return Ok(());
        }
    }
}

/// Goes through the jobs that are there now, once for every 10,000 devices. The devices of an erasure that was interrupted are
/// among them.
async fn cancel_pending(conn: &mut Session, app: AppId, user: &UserId) -> Result<u64, store::Error> {
    let (mut cancelled, mut after) = (0, DeviceId(0));
    loop {
        let devices = erasures::deleted_devices(conn, app, user, after, FIND_DEVICES as i64).await?;
        let Some(last) = devices.last() else { return Ok(cancelled) };
        after = *last;
        cancelled += cancel_in_jobs(conn, app, &devices).await?;
    }
}

async fn cancel_in_jobs(conn: &mut Session, app: AppId, devices: &[DeviceId]) -> Result<u64, store::Error> {
    let mut cancelled = 0;
    let Some(end) = erasures::last_job(conn).await? else { return Ok(cancelled) };
    let mut after = JobId(0);
    while after < end {
        let page = erasures::with_devices(conn, app, devices, after, PAGE_JOBS).await?;
        if !page.found.is_empty() {
            cancelled += erasures::cancel(conn, &page.found, devices).await?;
        }
        let Some(last) = page.last else { break };
        after = last;
    }
    Ok(cancelled)
}
