//! The daily partitions: made ahead, dropped when their retention has passed. Used by the leader.
//!
//! They are made by LIKE and ATTACH, and removed by DETACH ... CONCURRENTLY. Each step has a lock time-out and is tried
//! again later, so that a long snapshot of another transaction can't stop the recorder
//! (docs/queue.md#partition-changes).

use chrono::NaiveDate;
use uuid::Uuid;

use super::Error;
use crate::store::Session;

/// Number of days after today that always have partitions.
pub const DAYS_AHEAD: i32 = 7;

/// The lowest and the highest of these ids. A statement that looks them up one by one names both, because Postgres then leaves out
/// the partitions of all other days when the statement begins, before it opens them.
pub(super) fn id_span(ids: &[Uuid]) -> (Uuid, Uuid) {
    let nil = Uuid::nil();
    (ids.iter().min().copied().unwrap_or(nil), ids.iter().max().copied().unwrap_or(nil))
}

/// The days from today to [`DAYS_AHEAD`] (UTC) that have no partitions yet.
pub async fn missing_days(conn: &mut Session) -> Result<Vec<NaiveDate>, Error> {
    let rows = sqlx::query_scalar!(
        r#"
        select day as "day!" from (
          select (now() at time zone 'UTC')::date + d as day from generate_series(0, $1) d) x
        where exists (
          select 1 from unnest(array['notifications', 'targets', 'receipts', 'idempotency_keys', 'event_log']) parent
          where not exists (
            select 1 from pg_inherits where inhrelid = to_regclass(parent || '_' || to_char(day, 'YYYYMMDD'))))
        order by day
        "#,
        DAYS_AHEAD
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Makes a day's partitions.
///
/// # Errors
/// A lock time-out (55P03) while another session alters the parent tables: try again later.
pub async fn create_day(conn: &mut Session, day: NaiveDate) -> Result<(), Error> {
    let mut tx = conn.begin().await?;
    sqlx::query!("set local lock_timeout = '200ms'").execute(&mut *tx).await?;
    sqlx::query!("call create_day($1)", day).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}

/// Days that are older than `days`, and that no waiting job or fan-out refers to: they may be dropped. A day with a
/// table that was detached and not dropped yet is among them. A day is kept while one of its scheduled notifications was due,
/// or was cancelled, less than `days` ago: it may have ended without a receipt. A day is kept too while the event log has the
/// end of one of its notifications. While facts have waited for the log for an hour, all days are kept.
pub async fn droppable_days(conn: &mut Session, days: i32) -> Result<Vec<NaiveDate>, Error> {
    let rows = sqlx::query_scalar!(
        r#"
        select day as "day!" from (
          select distinct to_date(right(relname::text, 8), 'YYYYMMDD') as day from pg_class
          where relkind = 'r' and relname::text ~ '^(notifications|targets|receipts)_[0-9]{8}$'
            and relnamespace = (select relnamespace from pg_class where oid = 'notifications'::regclass)) x
        where day < (now() at time zone 'UTC')::date - $1::int
          and (select true from jobs
               where notification_id >= day_floor(day) and notification_id < day_floor(day + 1) limit 1) is null
          and (select true from fan_outs
               where notification_id >= day_floor(day) and notification_id < day_floor(day + 1) limit 1) is null
          and (select true from notifications
               where notification_id >= day_floor(day) and notification_id < day_floor(day + 1) and send_at is not null
                 and coalesce(cancelled_at, due_at) > now() - make_interval(days => $1) limit 1) is null
          and (select true from event_days e where e.day = x.day) is null
          and coalesce((select at from event_outbox order by outbox_id limit 1) > now() - interval '1 hour', true)
        order by day
        "#,
        days
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// A page of the receipts of a day, as the retention of the day must know it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct DayPage {
    /// The last receipt of this page, after which the next page begins. None: this was the last page.
    pub next: Option<(Uuid, i64)>,
    /// Seconds for which a receipt of the page must still be kept, at most. None: none must be kept.
    pub kept_secs: Option<f64>,
}

/// Reads up to `limit` receipts of a day after the given one, and how long they must be kept: `days` after they were
/// recorded. Page by page, because no index finds the last recorded one of a day.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn day_page(
    conn: &mut Session,
    day: NaiveDate,
    after: (Uuid, i64),
    days: i32,
    limit: i64,
) -> Result<DayPage, Error> {
    let row = sqlx::query!(
        r#"with page as materialized (
             select notification_id, receipt_id, recorded_at from receipts
             where notification_id >= day_floor($1) and notification_id < day_floor($1 + 1)
               and (notification_id, receipt_id) > ($2, $3)
             order by notification_id, receipt_id limit $4)
           select count(*) as "count!", (array_agg(notification_id))[count(*)] as last_notification,
                  (array_agg(receipt_id))[count(*)] as last_receipt,
                  extract(epoch from max(recorded_at) + make_interval(days => $5) - now())::float8 as kept_secs
           from page"#,
        day,
        after.0,
        after.1,
        limit,
        days
    )
    .fetch_one(conn)
    .await?;
    let next = row.last_notification.zip(row.last_receipt).filter(|_| row.count == limit);
    Ok(DayPage { next, kept_secs: row.kept_secs.filter(|secs| *secs > 0.0) })
}

/// Drops a day's partitions: detaches each without blocking other sessions, then drops it. Stops at the first lock that
/// is not granted within the session's lock time-out. Another call goes on from there.
///
/// # Errors
/// A lock time-out (55P03) while another session reads the day, or has an old snapshot: try again later.
pub async fn drop_day(conn: &mut Session, day: NaiveDate) -> Result<(), Error> {
    drop_partitions(conn, &["receipts", "targets", "notifications"], day).await
}

/// Days with idempotency keys that were all stored more than 24 h ago: those before yesterday (UTC). A day with a table that
/// was detached and not dropped yet is among them.
///
/// # Errors
/// Postgres is out of reach.
pub async fn old_key_days(conn: &mut Session) -> Result<Vec<NaiveDate>, Error> {
    let rows = sqlx::query_scalar!(
        r#"
        select day as "day!" from (
          select to_date(right(relname::text, 8), 'YYYYMMDD') as day from pg_class
          where relkind = 'r' and relname::text ~ '^idempotency_keys_[0-9]{8}$'
            and relnamespace = (select relnamespace from pg_class where oid = 'notifications'::regclass)) x
        where day < (now() at time zone 'UTC')::date - 1
        order by day
        "#
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// As [`drop_day`], for the idempotency keys of a day.
///
/// # Errors
/// A lock time-out (55P03) while another session reads the day, or has an old snapshot: try again later.
pub async fn drop_key_day(conn: &mut Session, day: NaiveDate) -> Result<(), Error> {
    drop_partitions(conn, &["idempotency_keys"], day).await
}

/// Drops a day's partitions of these tables, as [`drop_day`] does.
pub(super) async fn drop_partitions(
    conn: &mut Session,
    parents: &[&str],
    day: NaiveDate,
) -> Result<(), Error> {
    // Identifiers can't be parameters. These are built from a date, never from input.
    let suffix = day.format("%Y%m%d");
    for parent in parents {
        let child = format!("{parent}_{suffix}");
        let attached: Option<bool> =
            sqlx::query_scalar("select inhdetachpending from pg_inherits where inhrelid = to_regclass($1)")
                .bind(&child)
                .fetch_optional(&mut *conn)
                .await?;
        let how = match attached {
            Some(false) => Some("concurrently"),
            Some(true) => Some("finalize"),
            None => None,
        };
        if let Some(how) = how {
            let detach = format!("alter table {parent} detach partition {child} {how}");
            sqlx::raw_sql(sqlx::AssertSqlSafe(detach)).execute(&mut *conn).await?;
        }
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("drop table if exists {child}")))
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}
