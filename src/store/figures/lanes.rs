//! The lanes that have figures, and the table in which the leader leaves the figures for all nodes.

use std::collections::BTreeMap;

use super::WaitingFigures;
use crate::domain::{AppId, LaneId, LaneKey, Priority};
use crate::store::{Error, Session};

/// A lane as figures name it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FiguredLane {
    /// The lane's number.
    pub id: LaneId,
    /// The number of its app.
    pub app: AppId,
    /// The name of its app.
    pub app_name: String,
    /// Its platform and environment.
    pub key: LaneKey,
    /// The pruning guard is engaged.
    pub is_braked: bool,
}

impl FiguredLane {
    /// As logs and metrics name it: `shop/apns-production`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.app_name, self.key)
    }
}

/// All lanes of platforms that this node knows.
///
/// # Errors
/// Postgres is out of reach.
pub async fn lanes(conn: &mut Session) -> Result<Vec<FiguredLane>, Error> {
    let known = conn.platforms().clone();
    let rows = sqlx::query!(
        r#"
        select lane_id, app_id, a.name, platform, environment, guard_engaged_at is not null as "is_braked!"
        from lanes join apps a using (app_id) order by a.name, platform, environment
        "#
    )
    .fetch_all(conn)
    .await?;
    let lanes = rows.into_iter().filter_map(|row| {
        let platform = known.from_code(row.platform)?;
        Some(FiguredLane {
            id: LaneId(row.lane_id),
            app: AppId(row.app_id),
            app_name: row.name,
            key: LaneKey::new(platform, platform.environment_from_code(row.environment)),
            is_braked: row.is_braked,
        })
    });
    Ok(lanes.collect())
}

/// Stores what waits in these lanes, in each with each priority. Every node reads it where it shows lanes.
///
/// # Errors
/// Postgres is out of reach.
pub async fn store(
    conn: &mut Session,
    lanes: &[FiguredLane],
    waiting: &BTreeMap<(LaneId, Priority), WaitingFigures>,
) -> Result<(), Error> {
    let (mut lane_ids, mut priorities, mut figures) = (Vec::new(), Vec::new(), Vec::new());
    for lane in lanes {
        for priority in Priority::DESCENDING {
            lane_ids.push(lane.id.0);
            priorities.push(priority.code());
            figures.push(waiting.get(&(lane.id, priority)).copied().unwrap_or_default());
        }
    }
    let count = |of: fn(&WaitingFigures) -> u64| -> Vec<i64> {
        figures.iter().map(|figures| i64::try_from(of(figures)).unwrap_or(i64::MAX)).collect()
    };
    let oldest: Vec<Option<f64>> = figures.iter().map(|figures| figures.oldest_seconds).collect();
    let estimated: Vec<bool> = figures.iter().map(|figures| figures.is_estimated).collect();
    sqlx::query!(
        "
        insert into lane_figures (lane_id, priority, due_devices, oldest_due_at, scheduled_devices, backoff_devices,
                                  is_estimated, read_at)
        select lane_id, priority, due_devices, now() - make_interval(secs => oldest_seconds), scheduled_devices,
               backoff_devices, is_estimated, now()
        from unnest($1::int[], $2::smallint[], $3::bigint[], $4::float8[], $5::bigint[], $6::bigint[], $7::boolean[])
          as incoming(lane_id, priority, due_devices, oldest_seconds, scheduled_devices, backoff_devices, is_estimated)
        on conflict (lane_id, priority) do update set
          due_devices = excluded.due_devices, oldest_due_at = excluded.oldest_due_at,
          scheduled_devices = excluded.scheduled_devices, backoff_devices = excluded.backoff_devices,
          is_estimated = excluded.is_estimated, read_at = excluded.read_at
        ",
        &lane_ids,
        &priorities,
        &count(|figures| figures.due_devices),
        &oldest as &[Option<f64>],
        &count(|figures| figures.scheduled_devices),
        &count(|figures| figures.backoff_devices),
        &estimated,
    )
    .execute(conn)
    .await?;
    Ok(())
}
