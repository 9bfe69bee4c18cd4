//! Partitions are made and dropped while a session holds an old snapshot, and no recording waits for it
//! (docs/queue.md#partition-changes).

use std::cell::Cell;
use std::time::Duration;

use chrono::{Days, NaiveDate};
use pushpost::store::SessionPool;
use pushpost::store::partitions::{create_day, drop_day, droppable_days, missing_days};
use tokio::time::{Instant, sleep, timeout};

use super::GENEROUS;
use pushpost_testkit::database::TestDatabase;

async fn today(pool: &SessionPool) -> NaiveDate {
    sqlx::query_scalar("select (now() at time zone 'UTC')::date").fetch_one(pool).await.unwrap()
}

/// Tables of the notifications of a day. Others have days of their own.
async fn tables_of(pool: &SessionPool, day: NaiveDate) -> i64 {
    sqlx::query_scalar("select count(*) from pg_class where relkind = 'r' and relname ~ ('^(notifications|targets|receipts)_' || $1)")
        .bind(day.format("%Y%m%d").to_string())
        .fetch_one(pool)
        .await
        .unwrap()
}

/// What the recorder does, by a session that fails rather than wait behind a lock.
async fn append_receipt(pool: &SessionPool, day: NaiveDate) -> Result<(), pushpost::store::Error> {
    let mut tx = pushpost::store::begin(pool).await?;
    sqlx::query("set local lock_timeout = '1500ms'").execute(&mut *tx).await?;
    sqlx::query(
        "insert into receipts (notification_id, job_id, lane_id, attempt, accepted, shape, first_device, last_device,
                               devices, outcomes)
         values (day_floor($1), 1, 1, 1, 1, '1', 1, 1, array[1], '\\x01')",
    )
    .bind(day)
    .execute(&mut *tx)
    .await?;
    Ok(tx.commit().await?)
}

#[tokio::test]
async fn partitions_exist_a_week_ahead_and_missing_ones_are_made() {
    let db = TestDatabase::create().await;
    let mut conn = db.pool.acquire().await.unwrap();
    assert!(missing_days(&mut conn).await.unwrap().is_empty());
    let today = today(&db.pool).await;
    for ahead in 0..=7 {
        append_receipt(&db.pool, today + Days::new(ahead)).await.unwrap();
    }
    let day = today + Days::new(5);
    sqlx::query("delete from receipts").execute(&db.pool).await.unwrap();
    drop_day(&mut conn, day).await.unwrap();
    assert_eq!(missing_days(&mut conn).await.unwrap(), [day]);
    create_day(&mut conn, day).await.unwrap();
    create_day(&mut conn, day).await.unwrap();
    assert!(missing_days(&mut conn).await.unwrap().is_empty());
    append_receipt(&db.pool, day).await.unwrap();
}

/// Columns of tables that are like this, with those of a day that has yet to be made.
async fn columns(which: &str) -> Vec<(String, String)> {
    let db = TestDatabase::create().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let day = today(&db.pool).await + Days::new(30);
    create_day(&mut conn, day).await.unwrap();
    let columns = format!(
        "select relname::text, attname::text
         from pg_attribute
         join pg_class c on c.oid = attrelid and relkind in ('r', 'p') and relnamespace = 'public'::regnamespace
         join pg_type t on t.oid = atttypid
         where attnum > 0 and not attisdropped and {which}"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(columns)).fetch_all(&mut conn).await.unwrap()
}

/// Lists are most of what is stored: counting what occurs in them would keep a core busy every few seconds. Of the rest few
/// rows tell enough.
#[tokio::test]
async fn no_partition_samples_its_lists_and_little_of_the_rest() {
    let sampled = columns(
        "(relname ~ '^(notifications|receipts)' or relname = 'jobs') and coalesce(attstattarget, -1) <>
         case when typcategory = 'A' or typname in ('bytea', 'varbit') then 0 else 10 end",
    );
    assert_eq!(sampled.await, []);
}

/// Lists are compressed with lz4 where the server has it: pglz takes several times as long.
#[tokio::test]
async fn every_partition_compresses_its_lists_with_lz4() {
    let slow = columns(
        "(relname ~ '^receipts' or relname = 'jobs') and attstorage = 'x' and attcompression <> 'l'
         and (select 'lz4' = any(enumvals) from pg_settings where name = 'default_toast_compression')",
    );
    assert_eq!(slow.await, []);
}

#[tokio::test]
async fn a_partition_is_made_while_a_session_holds_a_snapshot() {
    let db = TestDatabase::create().await;
    let mut snapshot = pushpost::store::begin(&db.pool).await.unwrap();
    sqlx::query("select count(*) from receipts").execute(&mut *snapshot).await.unwrap();
    let mut conn = db.pool.acquire().await.unwrap();
    let day = today(&db.pool).await + Days::new(30);
    create_day(&mut conn, day).await.unwrap();
    timeout(GENEROUS, append_receipt(&db.pool, day)).await.unwrap().unwrap();
    snapshot.commit().await.unwrap();
}

/// Records while a change of partitions waits: it waits for transactions, and holds no lock on the parent behind which
/// others queue. False: the change gave up before it was seen to wait.
async fn record_while_it_waits(
    pool: &SessionPool,
    backend: i32,
    today: NaiveDate,
    over: &Cell<bool>,
) -> bool {
    while !over.get() {
        let (waits, parent): (bool, bool) = sqlx::query_as(
            "select coalesce(bool_or(not granted), false),
                    coalesce(bool_or(mode = 'AccessExclusiveLock' and relation = 'receipts'::regclass), false)
             from pg_locks where pid = $1",
        )
        .bind(backend)
        .fetch_one(pool)
        .await
        .unwrap();
        assert!(!parent, "everybody queues behind it");
        if waits {
            timeout(GENEROUS, append_receipt(pool, today)).await.unwrap().unwrap();
            return true;
        }
        sleep(Duration::from_millis(10)).await;
    }
    false
}

#[tokio::test]
async fn dropping_a_partition_waits_only_for_snapshots_and_is_finished_later() {
    let db = TestDatabase::create().await;
    let today = today(&db.pool).await;
    let day = today - Days::new(1);
    let mut snapshot = pushpost::store::begin(&db.pool).await.unwrap();
    sqlx::query("select count(*) from receipts").execute(&mut *snapshot).await.unwrap();

    let mut conn = db.pool.acquire().await.unwrap();
    let backend: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut conn).await.unwrap();
    let began = Instant::now();
    loop {
        let over = Cell::new(false);
        let dropping = async {
            let dropped = drop_day(&mut conn, day).await;
            over.set(true);
            dropped
        };
        let (dropped, watched) =
            tokio::join!(dropping, record_while_it_waits(&db.pool, backend, today, &over));
        assert_eq!(dropped.unwrap_err().sqlstate().as_deref(), Some("55P03"));
        if watched {
            break;
        }
        assert!(began.elapsed() < GENEROUS, "nobody sees it wait");
    }
    let pending: i64 = sqlx::query_scalar("select count(*) from pg_inherits where inhdetachpending")
        .fetch_one(&db.pool)
        .await
        .unwrap();
    assert_eq!(pending, 1);
    append_receipt(&db.pool, today).await.unwrap();

    snapshot.commit().await.unwrap();
    assert_eq!(tables_of(&db.pool, day).await, 3);
    drop_day(&mut conn, day).await.unwrap();
    assert_eq!(tables_of(&db.pool, day).await, 0);
}

#[tokio::test]
async fn old_partitions_without_open_jobs_are_dropped() {
    let db = TestDatabase::create().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let today = today(&db.pool).await;
    let (old, older) = (today - Days::new(31), today - Days::new(32));
    for day in [old, older, today - Days::new(30)] {
        create_day(&mut conn, day).await.unwrap();
    }
    sqlx::query(
        "insert into jobs (notification_id, lane_id, priority, due_at, expires_at, device_count, devices)
         values (day_floor($1), 1, 5, now(), now(), 1, array[1])",
    )
    .bind(old)
    .execute(&db.pool)
    .await
    .unwrap();
    assert_eq!(droppable_days(&mut conn, 30).await.unwrap(), [older], "a job waits on the other");
    sqlx::query("delete from jobs").execute(&db.pool).await.unwrap();
    assert_eq!(droppable_days(&mut conn, 30).await.unwrap(), [older, old]);
}

#[tokio::test]
async fn a_detached_partition_is_dropped_later() {
    let db = TestDatabase::create().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let day = today(&db.pool).await - Days::new(40);
    create_day(&mut conn, day).await.unwrap();
    for parent in ["receipts", "targets", "notifications"] {
        let detach = format!("alter table {parent} detach partition {parent}_{}", day.format("%Y%m%d"));
        sqlx::raw_sql(sqlx::AssertSqlSafe(detach)).execute(&db.pool).await.unwrap();
    }
    assert_eq!(droppable_days(&mut conn, 30).await.unwrap(), [day]);
    drop_day(&mut conn, day).await.unwrap();
    assert_eq!(tables_of(&db.pool, day).await, 0);
    assert!(droppable_days(&mut conn, 30).await.unwrap().is_empty());
}
