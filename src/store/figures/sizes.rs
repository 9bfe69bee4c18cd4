//! How large tables are, and how many devices there are. Read once an hour.

use crate::domain::{AppId, Platform};
use crate::store::{Error, Session};

/// Most devices that are counted one by one. It takes about a second. With more, pages of the table are sampled.
const COUNTED_DEVICES_MAX: i64 = 1_000_000;
/// Most pages of `devices` that are sampled: 160 MB, about half of what a million devices take.
const SAMPLED_PAGES: f64 = 20_000.0;

/// A table and its size.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableSize {
    /// The name; of partitions that of their parent.
    pub table: String,
    /// Bytes, with indexes, partitions and values that are stored apart.
    pub bytes: u64,
}

/// The number of devices of one app and platform that are in use, or that are quarantined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceCount {
    /// The number of the app that they belong to.
    pub app: AppId,
    /// The service that issued their tokens.
    pub platform: Platform,
    /// These are the quarantined ones.
    pub is_quarantined: bool,
    /// Their number: exact up to a million devices in the table, above that an estimate.
    pub devices: u64,
}

/// The sizes of all tables of the schema. A partition counts for its parent.
///
/// # Errors
/// Postgres is out of reach.
pub async fn tables(conn: &mut Session) -> Result<Vec<TableSize>, Error> {
    let rows = sqlx::query_as!(
        SizeRow,
        r#"
        select relname::text as "table!",
               (pg_total_relation_size(c.oid)
                + coalesce((select sum(pg_total_relation_size(p.relid)) from pg_partition_tree(c.oid) p where p.isleaf
                              and p.relid <> c.oid), 0))::bigint as "bytes!"
        from pg_class c
        where relkind in ('r', 'p') and not relispartition and relname !~ '^_'
          and relnamespace = (select relnamespace from pg_class where oid = 'jobs'::regclass)
        order by relname
        "#
    )
    .fetch_all(conn)
    .await?;
    let sizes = rows.into_iter().map(|row| TableSize { table: row.table, bytes: row.bytes.unsigned_abs() });
    Ok(sizes.collect())
}

struct SizeRow {
    table: String,
    bytes: i64,
}

/// The devices by app, platform and status.
///
/// # Errors
/// Postgres is out of reach.
pub async fn devices(conn: &mut Session) -> Result<Vec<DeviceCount>, Error> {
    let known = conn.platforms().clone();
    let percent = sample_percent(conn).await?;
    let rows = sqlx::query!(
        r#"
        select app_id, platform, quarantined_at is not null as "is_quarantined!", count(*) as "devices!"
        from devices tablesample system ($1) group by app_id, platform, 3
        "#,
        percent as f32
    )
    .fetch_all(conn)
    .await?;
    let counts = rows.into_iter().filter_map(|row| {
        Some(DeviceCount {
            app: AppId(row.app_id),
            platform: known.from_code(row.platform)?,
            is_quarantined: row.is_quarantined,
            devices: (row.devices as f64 * 100.0 / percent).round() as u64,
        })
    });
    Ok(counts.collect())
}

/// The share of the table's pages to read, in percent: all of them up to [`COUNTED_DEVICES_MAX`] devices.
async fn sample_percent(conn: &mut Session) -> Result<f64, Error> {
    let percent = sqlx::query_scalar!(
        r#"
        -- The condition is always true. It makes the planner walk along the index, up to the limit.
        select case when (select count(*) from (select from devices where device_id > 0 limit $1::bigint + 1) d) <= $1 then 100
                    else least(100, 100 * $2::float8
                                    / greatest(1, pg_relation_size('devices') / current_setting('block_size')::int)) end
               ::float8 as "percent!"
        "#,
        COUNTED_DEVICES_MAX,
        SAMPLED_PAGES
    )
    .fetch_one(conn)
    .await?;
    Ok(percent)
}
