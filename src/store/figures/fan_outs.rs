//! The audiences that are being found.

use std::collections::BTreeMap;

use crate::domain::AppId;
use crate::store::{Error, Session};

/// Most fan-outs of one priority that are counted. It takes about 10 ms.
const COUNTED_MAX: i64 = 10_000;

/// The due fan-outs of one app.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct FanOutFigures {
    /// Their number: up to 10,000 of each priority are counted.
    pub count: u64,
    /// Seconds since the oldest of them was due.
    pub oldest_seconds: f64,
}

/// The due fan-outs of each app that has any.
///
/// # Errors
/// Postgres is out of reach.
pub async fn fan_outs(conn: &mut Session) -> Result<BTreeMap<AppId, FanOutFigures>, Error> {
    let rows = sqlx::query!(
        r#"
        select app_id as "app_id!", count(*) as "count!",
               extract(epoch from now() - min(due_at))::float8 as "oldest_seconds!"
        from unnest(array[10, 5, 1]::smallint[]) range_priority
        cross join unnest(array[true, false]) range_scheduled
        cross join lateral (
          select app_id, due_at from fan_outs
          where priority = range_priority and is_scheduled = range_scheduled and due_at <= now()
          order by due_at limit $1) due
        group by app_id
        "#,
        COUNTED_MAX
    )
    .fetch_all(conn)
    .await?;
    let figures = rows.into_iter().map(|row| {
        let figures = FanOutFigures { count: row.count.unsigned_abs(), oldest_seconds: row.oldest_seconds };
        (AppId(row.app_id), figures)
    });
    Ok(figures.collect())
}
