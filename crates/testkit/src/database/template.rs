//! The migrated database of a day that the tests' databases are copies of.
//!
//! Tables have partitions by the day. A copy of yesterday's template would lack the last day, and have a day too many at its start,
//! and a test that runs over midnight would see two days as today. So each day has a template of its own, and no database is made
//! shortly before midnight.

use std::time::Duration;

use sqlx::{Connection, Executor, PgConnection};
use tokio::time::sleep;

use super::{MIGRATIONS, content_hash, run, with_database};

/// How long a test may run that needs its day to last.
const TEST_SECONDS: f64 = 120.0;

/// The name of today's template. It is made if it is missing, and it is named after the migrations too, so that a server that stays
/// keeps it for the next run.
pub(super) async fn of_today(url: &str) -> String {
    let mut conn = PgConnection::connect(url).await.unwrap();
    let day = day_that_lasts(&mut conn).await;
    let checksums = MIGRATIONS.iter().flat_map(|migration| migration.checksum.iter().copied());
    let name = format!("it_template_{:016x}_{day}", content_hash(checksums));
    if !exists(&mut conn, &name).await {
        // Test runs side by side on one server: one of them makes it.
        conn.execute("select pg_advisory_lock(727383)").await.unwrap();
        if !exists(&mut conn, &name).await {
            make(url, &name).await;
            drop_older(url, &mut conn).await;
        }
    }
    conn.close().await.unwrap();
    name
}

/// Today (UTC) by Postgres's clock, as `YYYYMMDD`; shortly before midnight, it waits for the next day.
async fn day_that_lasts(conn: &mut PgConnection) -> String {
    loop {
        let (day, seconds): (String, f64) = sqlx::query_as(
            "select to_char(utc, 'YYYYMMDD'), extract(epoch from date_trunc('day', utc) + interval '1 day' - utc)::float8
             from (select clock_timestamp() at time zone 'UTC' utc) now",
        )
        .fetch_one(&mut *conn)
        .await
        .unwrap();
        if seconds > TEST_SECONDS {
            return day;
        }
        sleep(Duration::from_secs_f64(seconds + 0.1)).await;
    }
}

async fn exists(conn: &mut PgConnection, name: &str) -> bool {
    let exists = sqlx::query_scalar("select exists (select from pg_database where datname = $1)").bind(name);
    exists.fetch_one(conn).await.unwrap()
}

async fn make(url: &str, name: &str) {
    let half = format!("{name}_half");
    run(url, &format!("drop database if exists {half} with (force)")).await;
    run(url, &format!("create database {half}")).await;
    let mut inside = PgConnection::connect(&with_database(url, &half)).await.unwrap();
    MIGRATIONS.run(&mut inside).await.unwrap();
    inside.close().await.unwrap();
    run(url, &format!("alter database {half} rename to {name}")).await;
}

/// Another run may copy yesterday's, which it asked for before midnight.
async fn drop_older(url: &str, conn: &mut PgConnection) {
    let older: Vec<String> = sqlx::query_scalar(
        "select datname from pg_database
         where datname ~ '^it_template_[0-9a-f]{16}(_[0-9]{8})?$'
           and coalesce(substring(datname from '_([0-9]{8})$'), '') < to_char((now() at time zone 'UTC')::date - 1, 'YYYYMMDD')",
    )
    .fetch_all(&mut *conn)
    .await
    .unwrap();
    for name in older {
        run(url, &format!("drop database if exists {name}")).await;
    }
}
