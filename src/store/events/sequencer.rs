//! Gives facts their places in the log.
//!
//! The numbers of `event_outbox` are drawn before their transactions are committed, so they are not the order in which rows become
//! visible: a reader that goes by them misses rows (docs/queue.md#event-log). The sequencer moves what is visible.

use crate::domain::FactKind;
use crate::store::{Error, Session};

/// Notifications that one entry of the log tells the end of, at most.
const ENDS_PER_ENTRY: i64 = 500;

/// What one run of the sequencer has moved.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sequenced {
    /// Rows that were taken from the outbox.
    pub taken: u64,
    /// Notifications that waited for the rows before them and have ended now.
    pub ended_late: u64,
    /// Events that were added to the log, by the kind of their fact.
    pub events: Vec<(FactKind, u64)>,
}

/// Moves up to `limit` facts from the outbox to the log, in the order of the outbox, and adds the ends of notifications that have
/// no job and no fan-out left. Does nothing while another session does the same.
///
/// One statement, so that a process that hangs holds no lock. It locks the row of `event_head`, the rows of the outbox that it
/// takes, and nothing that others wait for.
///
/// # Errors
/// Postgres is out of reach. Either all or nothing of the run was done.
pub async fn sequence(conn: &mut Session, limit: i64) -> Result<Sequenced, Error> {
    let rows = sqlx::query!(
        r#"
        with head as materialized (select position from event_head for update skip locked),
        visible as materialized (select outbox_id as last from event_outbox order by outbox_id desc limit 1),
        taken as (
          delete from event_outbox where outbox_id = any(array(
            select outbox_id from event_outbox where exists (select from head) order by outbox_id limit $1))
          returning *),
        touched as materialized (
          select distinct app_id, unnest(notifications) as notification_id from taken where kind = 1),
        -- Neither a job nor a fan-out is left in this snapshot, so all rows of the notification are in it too.
        over as materialized (
          select app_id, notification_id from touched t
          where (select true from jobs j where j.notification_id = t.notification_id limit 1) is null
            and (select true from fan_outs f where f.notification_id = t.notification_id limit 1) is null),
        -- Rows that another sequencer has taken since the beginning of this snapshot count as left: with them that one may
        -- have noted an end that this snapshot does not show.
        left_over as materialized (
          select outbox_id from event_outbox where outbox_id not in (select outbox_id from taken)
          order by outbox_id limit 1),
        earlier as (
          delete from event_ending where notification_id = any(array(
            select notification_id from event_ending
            where exists (select from head)
              and after_outbox < coalesce((select outbox_id from left_over), 9223372036854775807)
            order by after_outbox limit $1))
          returning app_id, notification_id),
        -- What is in event_ending already ends from there.
        over_now as materialized (
          select app_id, notification_id from over o
          where (select true from event_ending e where e.notification_id = o.notification_id limit 1) is null),
        later as (
          insert into event_ending (notification_id, app_id, after_outbox)
          select notification_id, app_id, (select last from visible) from over_now
          where (select outbox_id from left_over) <= (select last from visible)
          on conflict do nothing),
        ended as materialized (
          select app_id, notification_id from earlier
          union all
          select app_id, notification_id from over_now
          where not coalesce((select outbox_id from left_over) <= (select last from visible), false)),
        entries as (
          select 0 as stage, outbox_id as place, app_id, kind, at, notifications, receipts, devices, fact from taken
          where kind <> 1 or receipts <> '{}'
          union all
          select 1, min(place), app_id, 2::smallint, now(), array_agg(notification_id), '{}', '{}', null
          from (select *, row_number() over (partition by app_id) as place from ended) e
          group by app_id, (place - 1) / $2),
        numbered as materialized (
          select (select position from head) + row_number() over (order by stage, place, app_id) as position, e.*
          from entries e),
        logged as (
          insert into event_log (position, app_id, kind, at, notifications, receipts, devices, fact)
          select position, app_id, kind, at, notifications, receipts, devices, fact from numbered),
        moved as (
          update event_head set position = (select max(position) from numbered) where exists (select from numbered)),
        -- The days of these notifications are kept while the log has their ends. The first 24 bits of an id are its time in
        -- steps of 2^24 ms: 4.7 hours, in at most two days.
        steps as materialized (
          select distinct ('x' || left(notification_id::text, 6))::bit(24)::bigint << 24 as began_ms from ended),
        days as materialized (
          select distinct (to_timestamp((began_ms + past_ms) / 1000.0) at time zone 'UTC')::date as day
          from steps, unnest(array[0, 16777215]) past_ms),
        noted as (
          insert into event_days (day, logged_on) select day, (now() at time zone 'UTC')::date from days d
          where (select logged_on from event_days k where k.day = d.day) is distinct from (now() at time zone 'UTC')::date
          on conflict (day) do update set logged_on = excluded.logged_on)
        select 0::smallint as "kind!", (select count(*) from taken) as "events!",
               (select count(*) from earlier) as "ended_late!"
        union all
        select kind, sum(case kind when 1 then cardinality(receipts) when 2 then cardinality(notifications) else 1 end), 0
        from numbered group by kind
        "#,
        limit,
        ENDS_PER_ENTRY
    )
    .fetch_all(conn)
    .await?;
    let mut sequenced = Sequenced::default();
    for row in rows {
        match FactKind::from_code(row.kind) {
            Some(kind) => sequenced.events.push((kind, row.events.cast_unsigned())),
            None => {
                sequenced.taken += row.events.cast_unsigned();
                sequenced.ended_late += row.ended_late.cast_unsigned();
            }
        }
    }
    Ok(sequenced)
}
