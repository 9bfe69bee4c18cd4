//! Counts the waiting devices of each app, for `limits.max_pending`. Used by `queue::backlog`.

use std::collections::HashMap;

use super::Error;
use crate::domain::AppId;
use crate::store::Session;

/// Most pages of `jobs` that one count reads: 8 MB. A larger table is sampled.
const PAGES_MAX: f64 = 1_000.0;

/// Devices that wait or are under way, per app. Apps without any are missing. Exact for a table of up to 1,000 pages,
/// about 60,000 jobs; a larger table is estimated from as many pages, drawn at random.
///
/// Pages are sampled, because every exact way reads the whole table or a whole index, and because the planner's
/// statistics may be old. The table's number of pages is always known.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn waiting(conn: &mut Session) -> Result<HashMap<AppId, u64>, Error> {
    let rows = sqlx::query!(
        r#"with waiting as materialized (
             select lane_id, sum(device_count - coalesce(bit_count(done), 0)) as devices
             from jobs tablesample system (
               least(100, 100 * $1::float8 / greatest(1, pg_relation_size('jobs') / current_setting('block_size')::int)))
             group by lane_id)
           select l.app_id,
                  (sum(w.devices) * greatest(1, pg_relation_size('jobs') / current_setting('block_size')::int / $1::float8))::float8
                    as "devices!"
           from waiting w join lanes l on l.lane_id = w.lane_id group by l.app_id"#,
        PAGES_MAX
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (AppId(row.app_id), row.devices as u64)).collect())
}
