//! What became of the devices of each lane in each minute of the last day (`lane_minutes`).

use chrono::{DateTime, Utc};

use super::Error;
use crate::domain::{AppId, LaneId, NodeId};
use crate::store::Session;

/// Minutes that are kept: a day, and what a chart that begins then still shows.
const KEPT_MINUTES: i32 = 24 * 60 + 10;

/// What a node counted of a lane in one minute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CountedMinute {
    /// The lane's number.
    pub lane: LaneId,
    /// When the minute began.
    pub minute: DateTime<Utc>,
    /// Devices that the provider accepted.
    pub accepted: u64,
    /// Devices that ended otherwise and were not cancelled.
    pub failed: u64,
    /// First attempts that began within the objective.
    pub on_time: u64,
    /// First attempts that began later.
    pub late: u64,
    /// Answers of the provider by bucket of their time.
    pub provider_counts: Vec<u64>,
}

/// A minute of a lane, over all nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LaneMinute {
    /// The lane's number.
    pub lane: LaneId,
    /// When the minute began.
    pub minute: DateTime<Utc>,
    /// Devices that the provider accepted.
    pub accepted: u64,
    /// Devices that ended otherwise and were not cancelled.
    pub failed: u64,
    /// First attempts that began after the time of the objective.
    pub late: u64,
    /// Devices that were due at the end of the minute. None: they were not counted.
    pub waiting: Option<u64>,
    /// Answers of the provider by bucket of their time.
    pub provider_counts: Vec<u64>,
}

/// First attempts of direct notifications of high and normal priority.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ObjectiveCounts {
    /// Those that began within the objective.
    pub on_time: u64,
    /// Those that began later.
    pub late: u64,
}

/// Stores what a node counted. Storing the same again changes nothing. A minute without outcomes is left out, unless devices wait
/// and `with_waiting` is set, which one node of the installation does.
///
/// # Errors
/// Postgres is out of reach.
pub async fn store(
    conn: &mut Session,
    node: NodeId,
    minutes: &[CountedMinute],
    with_waiting: bool,
) -> Result<(), Error> {
    let lanes: Vec<i32> = minutes.iter().map(|counted| counted.lane.0).collect();
    let times: Vec<DateTime<Utc>> = minutes.iter().map(|counted| counted.minute).collect();
    let number = |of: fn(&CountedMinute) -> u64| -> Vec<i64> {
        minutes.iter().map(|counted| i64::try_from(of(counted)).unwrap_or(i64::MAX)).collect()
    };
    // Lists of lists are no parameter, so each list is written as Postgres reads it.
    let counts: Vec<String> = minutes
        .iter()
        .map(|counted| {
            let counts: Vec<String> = counted.provider_counts.iter().map(u64::to_string).collect();
            format!("{{{}}}", counts.join(","))
        })
        .collect();
    sqlx::query!(
        "
        insert into lane_minutes (lane_id, minute, node_id, accepted, failed, on_time, late, provider_counts, waiting)
        select lane_id, minute, $1, accepted, failed, on_time, late, counts::bigint[], waiting
        from unnest($2::int[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[])
          as counted(lane_id, minute, accepted, failed, on_time, late, counts)
        left join (select lane_id, sum(due_devices)::bigint as waiting from lane_figures group by lane_id) figures
          using (lane_id)
        where accepted + failed + on_time + late > 0 or $9 and waiting > 0
        on conflict (lane_id, minute, node_id) do update set
          accepted = excluded.accepted, failed = excluded.failed, on_time = excluded.on_time, late = excluded.late,
          provider_counts = excluded.provider_counts, waiting = excluded.waiting
        ",
        node.0,
        &lanes,
        &times,
        &number(|counted| counted.accepted),
        &number(|counted| counted.failed),
        &number(|counted| counted.on_time),
        &number(|counted| counted.late),
        &counts,
        with_waiting
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The last hour of an app's lanes, in the order of the minutes. What several nodes counted is added up.
///
/// # Errors
/// Postgres is out of reach.
pub async fn last_hour(conn: &mut Session, app: AppId) -> Result<Vec<LaneMinute>, Error> {
    let rows = sqlx::query!(
        r#"
        select m.lane_id, m.minute, m.accepted, m.failed, m.late, m.waiting, m.provider_counts
        from lanes l join lane_minutes m using (lane_id)
        where l.app_id = $1 and m.minute >= now() - interval '61 minutes'
        order by m.minute, m.lane_id
        "#,
        app.0
    )
    .fetch_all(conn)
    .await?;
    let mut minutes: Vec<LaneMinute> = Vec::new();
    for row in rows {
        let of_node = LaneMinute {
            lane: LaneId(row.lane_id),
            minute: row.minute,
            accepted: row.accepted.cast_unsigned(),
            failed: row.failed.cast_unsigned(),
            late: row.late.cast_unsigned(),
            waiting: row.waiting.map(i64::cast_unsigned),
            provider_counts: row.provider_counts.into_iter().map(i64::cast_unsigned).collect(),
        };
        match minutes.last_mut() {
            Some(last) if (last.lane, last.minute) == (of_node.lane, of_node.minute) => last.add(of_node),
            _ => minutes.push(of_node),
        }
    }
    Ok(minutes)
}

impl LaneMinute {
    fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.failed += other.failed;
        self.late += other.late;
        // All nodes read what one leader counted.
        self.waiting = self.waiting.max(other.waiting);
        let counts = other.provider_counts;
        self.provider_counts.resize(self.provider_counts.len().max(counts.len()), 0);
        self.provider_counts.iter_mut().zip(counts).for_each(|(count, other)| *count += other);
    }
}

/// The app's first attempts of the last hour and of the last day.
///
/// # Errors
/// Postgres is out of reach.
pub async fn objective(conn: &mut Session, app: AppId) -> Result<[ObjectiveCounts; 2], Error> {
    let row = sqlx::query!(
        r#"
        select coalesce(sum(on_time) filter (where minute >= now() - interval '1 hour'), 0)::bigint as "hour_on_time!",
               coalesce(sum(late) filter (where minute >= now() - interval '1 hour'), 0)::bigint as "hour_late!",
               coalesce(sum(on_time), 0)::bigint as "day_on_time!", coalesce(sum(late), 0)::bigint as "day_late!"
        from lanes l join lane_minutes m using (lane_id)
        where l.app_id = $1 and minute >= now() - interval '1 day'
        "#,
        app.0
    )
    .fetch_one(conn)
    .await?;
    let counts = |on_time: i64, late: i64| ObjectiveCounts {
        on_time: on_time.cast_unsigned(),
        late: late.cast_unsigned(),
    };
    Ok([counts(row.hour_on_time, row.hour_late), counts(row.day_on_time, row.day_late)])
}

/// Deletes up to `limit` rows that no chart shows any more. Returns how many.
///
/// # Errors
/// Postgres is out of reach.
pub async fn delete_old(conn: &mut Session, limit: i64) -> Result<u64, Error> {
    let done = sqlx::query!(
        "
        with old as materialized (
          select ctid as row from lane_minutes where minute < now() - make_interval(mins => $2)
          limit $1 for update skip locked)
        delete from lane_minutes where ctid = any(array(select row from old))
        ",
        limit,
        KEPT_MINUTES
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}
