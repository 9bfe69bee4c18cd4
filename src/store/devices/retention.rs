//! Deletes devices that were not used for long, with their subscriptions. Used by the leader.
//!
//! Devices that another transaction has locked are skipped until the next time, so that a deletion waits for no lock
//! (docs/queue.md#lock-order).

use crate::domain::DeviceId;
use crate::store::Error;
use crate::store::Session;

/// Deletes up to `limit` devices of each app that have been quarantined for `secs`. Returns how many. A clean-up run
/// counts those of its own, because they go on counting towards the share of later runs.
///
/// The time in quarantine is checked again after the devices are locked, in a step of its own. With the time in the
/// locking statement's condition, a plan that is made while the table is empty reads all quarantined devices
/// (docs/queue.md#stable-plans).
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn delete_quarantined(conn: &mut Session, secs: f64, limit: i64) -> Result<u64, Error> {
    let gone = sqlx::query_scalar!(
        r#"with found as materialized (
             select d.device_id from apps a cross join lateral (
               select device_id from devices
               where app_id = a.app_id and quarantined_at is not null
                 and quarantined_at <= now() - make_interval(secs => $1)
               order by quarantined_at limit $2) d),
           locked as materialized (
             select device_id, quarantined_at from devices
             where device_id = any(array(select device_id from found)) for update skip locked),
           still as (select device_id from locked where quarantined_at <= now() - make_interval(secs => $1)),
           gone as (
             delete from devices where device_id = any(array(select device_id from still))
             returning device_id, quarantine_run),
           unsubscribed as (
             delete from subscriptions where device_id = any(array(select device_id from still))),
           counted as (
             update cleanup_runs r set deleted = r.deleted + g.deleted
             from (select quarantine_run, count(*) as deleted from gone
                   where quarantine_run is not null group by quarantine_run) g
             where r.run_id = g.quarantine_run)
           select count(*) as "count!" from gone"#,
        secs,
        limit
    )
    .fetch_one(conn)
    .await?;
    Ok(gone.cast_unsigned())
}

/// The next devices after `after` that are known from sends alone, at most `limit`. True beside a device: nothing was
/// sent to it for `days`.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn send_only(
    conn: &mut Session,
    after: DeviceId,
    days: i32,
    limit: i64,
) -> Result<Vec<(DeviceId, bool)>, Error> {
    let rows = sqlx::query!(
        r#"select device_id, coalesce(last_sent_on, created_at::date) < current_date - $2::int as "is_over!"
           from devices where source = 1 and device_id > $1 order by device_id limit $3"#,
        after.0,
        days,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (DeviceId(row.device_id), row.is_over)).collect())
}

/// Deletes those of these devices that are still known from sends alone, and to which nothing was sent for `days`.
/// Returns how many.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn delete_send_only(conn: &mut Session, ids: &[DeviceId], days: i32) -> Result<u64, Error> {
    let ids: Vec<i64> = ids.iter().map(|device| device.0).collect();
    let gone = sqlx::query_scalar!(
        r#"with locked as materialized (
             select device_id from devices
             where device_id = any($1) and source = 1
               and coalesce(last_sent_on, created_at::date) < current_date - $2::int
             for update skip locked),
           gone as (
             delete from devices where device_id = any(array(select device_id from locked)) returning device_id),
           unsubscribed as (
             delete from subscriptions where device_id = any(array(select device_id from locked)))
           select count(*) as "count!" from gone"#,
        &ids,
        days
    )
    .fetch_one(conn)
    .await?;
    Ok(gone.cast_unsigned())
}
