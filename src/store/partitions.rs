//! Days: made ahead, dropped when their retention has passed.
//!
//! Made with LIKE and ATTACH, removed by DETACH ... CONCURRENTLY, each with a lock time-out and another try later,
//! so that nobody's long snapshot can stop the recorder (docs/queue.md#partition-changes).

use chrono::NaiveDate;
use uuid::Uuid;

use super::Error;
use crate::store::Session;

/// Days from today on that always exist.
pub const DAYS_AHEAD: i32 = 7;

/// Which of the next days (from today, in UTC) have no partitions yet.
pub async fn missing_days(conn: &mut Session) -> Result<Vec<NaiveDate>, Error> {
    let rows = sqlx::query_scalar!(
        r#"
        select day as "day!" from (
          select (now() at time zone 'UTC')::date + d as day from generate_series(0, $1) d) x
        where exists (
          select 1 from unnest(array['notifications', 'targets', 'receipts']) parent
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
/// A lock time-out (55P03) while somebody else alters the parents: try again later.
pub async fn create_day(conn: &mut Session, day: NaiveDate) -> Result<(), Error> {
    let mut tx = conn.begin().await?;
    sqlx::query!("set local lock_timeout = '200ms'").execute(&mut *tx).await?;
    sqlx::query!("call create_day($1)", day).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}

/// Days older than `days` on which nothing waiting depends: they may be dropped. A day of which only a table is left
/// that was detached and not dropped yet is still among them.
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
        order by day
        "#,
        days
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Receipts of a day, as the retention of the day sees them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct DayPage {
    /// Where the next page begins; none: this was the last one.
    pub next: Option<(Uuid, i64)>,
    /// The longest time that one of them is still to be kept, in seconds; none: none of them is.
    pub kept_secs: Option<f64>,
}

/// The receipts of a day after the given one, at most `limit`, and how long they are to be kept: `days` from their
/// time. In pages, since nothing finds the last one of a day.
///
/// # Errors
/// The database's.
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

/// Drops a day's partitions: detached without blocking other sessions, then dropped. Stops at the first that can't be
/// had within the session's lock time-out; calling it again goes on from there.
///
/// # Errors
/// A lock time-out (55P03) while somebody still reads the day, or an old snapshot lives: try again later.
pub async fn drop_day(conn: &mut Session, day: NaiveDate) -> Result<(), Error> {
    // The names are built from a date, never from what anybody wrote; identifiers can't be parameters.
    let suffix = day.format("%Y%m%d");
    for parent in ["receipts", "targets", "notifications"] {
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
