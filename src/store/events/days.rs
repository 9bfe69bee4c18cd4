//! How long the log is kept: by the day.

use chrono::NaiveDate;

use crate::store::{Error, Session, partitions};

/// Days of the log that ended more than `days` days ago, the oldest first. A day with a table that was detached and not dropped
/// yet is among them.
///
/// # Errors
/// Postgres is out of reach.
pub async fn droppable_days(conn: &mut Session, days: i32) -> Result<Vec<NaiveDate>, Error> {
    let rows = sqlx::query_scalar!(
        r#"
        select day as "day!" from (
          select to_date(right(relname::text, 8), 'YYYYMMDD') as day from pg_class
          where relkind = 'r' and relname::text ~ '^event_log_[0-9]{8}$'
            and relnamespace = (select relnamespace from pg_class where oid = 'event_log'::regclass)) x
        where day < (now() at time zone 'UTC')::date - $1::int
        order by day
        "#,
        days
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Drops a day of the log, as [`partitions::drop_day`] does.
///
/// # Errors
/// A lock time-out (55P03) while another session reads the day, or has an old snapshot: try again later.
pub async fn drop_day(conn: &mut Session, day: NaiveDate) -> Result<(), Error> {
    partitions::drop_partitions(conn, &["event_log"], day).await
}

/// Lets go of the days of notifications that no kept day of the log has the end of.
///
/// # Errors
/// Postgres is out of reach.
pub async fn release_days(conn: &mut Session) -> Result<(), Error> {
    sqlx::query!(
        "delete from event_days
         where logged_on < (select min(to_date(right(relname::text, 8), 'YYYYMMDD'))
                            from pg_inherits join pg_class c on c.oid = inhrelid where inhparent = 'event_log'::regclass)"
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Deletes facts that wait, because the configuration keeps no events any more: up to `limit`, and ends that wait for them.
/// Returns whether there may be more.
///
/// # Errors
/// Postgres is out of reach.
pub async fn delete_waiting(conn: &mut Session, limit: i64) -> Result<bool, Error> {
    let deleted = sqlx::query!(
        "delete from event_outbox where outbox_id = any(array(
           select outbox_id from event_outbox order by outbox_id limit $1 for update skip locked))",
        limit
    )
    .execute(&mut *conn)
    .await?;
    let ends = sqlx::query!(
        "delete from event_ending where notification_id = any(array(
           select notification_id from event_ending order by after_outbox limit $1 for update skip locked))",
        limit
    )
    .execute(conn)
    .await?;
    Ok(deleted.rows_affected().max(ends.rows_affected()) == limit.unsigned_abs())
}
