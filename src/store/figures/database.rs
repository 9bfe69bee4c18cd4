//! Figures about nodes, transactions and partitions.

use crate::store::{Error, Session, partitions};

/// Figures about the database as a whole.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct DatabaseState {
    /// Nodes that were not declared dead.
    pub nodes: u32,
    /// Seconds since the oldest transaction of another session began, prepared transactions included. 0: there is none.
    pub oldest_transaction_seconds: f64,
    /// Days in a row after today that have all their partitions: at most [`partitions::DAYS_AHEAD`].
    pub partitions_ahead: u32,
    /// Seconds since the transaction of the oldest fact began that has no place in the event log. 0: there is none.
    pub oldest_fact_seconds: f64,
}

/// Reads the figures about the database as a whole.
///
/// A role that is no member of `pg_read_all_stats` sees no transactions of other roles.
///
/// # Errors
/// Postgres is out of reach.
pub async fn database(conn: &mut Session) -> Result<DatabaseState, Error> {
    let row = sqlx::query!(
        r#"
        with transactions as (
          select xact_start as began_at from pg_stat_activity
          where datname = current_database() and pid <> pg_backend_pid()
          union all
          select prepared from pg_prepared_xacts where database = current_database()),
        -- Every partitioned table has a partition per day, which is named after the day.
        parents as (
          select oid, relname from pg_class
          where relkind = 'p' and relnamespace = (select relnamespace from pg_class where oid = 'jobs'::regclass)),
        days as (
          select ahead, not exists (
                   select 1 from parents p
                   where not exists (
                     select 1 from pg_inherits
                     where inhparent = p.oid
                       and inhrelid = to_regclass(p.relname || '_' ||
                             to_char((now() at time zone 'UTC')::date + ahead, 'YYYYMMDD')))) as is_made
          from generate_series(1, $1::int) ahead)
        select (select count(*) from nodes where dead_at is null)::int as "nodes!",
               coalesce((select greatest(0, extract(epoch from clock_timestamp() - min(began_at))) from transactions),
                        0)::float8 as "oldest_transaction_seconds!",
               coalesce((select min(ahead) - 1 from days where not is_made), $1)::int as "partitions_ahead!",
               coalesce(greatest(0, extract(epoch from clock_timestamp()
                                                       - (select at from event_outbox order by outbox_id limit 1))),
                        0)::float8 as "oldest_fact_seconds!"
        "#,
        partitions::DAYS_AHEAD
    )
    .fetch_one(conn)
    .await?;
    Ok(DatabaseState {
        nodes: row.nodes.unsigned_abs(),
        oldest_transaction_seconds: row.oldest_transaction_seconds,
        partitions_ahead: row.partitions_ahead.unsigned_abs(),
        oldest_fact_seconds: row.oldest_fact_seconds,
    })
}
