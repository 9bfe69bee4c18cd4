//! Keys lie in partitions by day, and are kept for 24 h all the same.

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use pushpost::domain::IdempotencyKey;
use pushpost::runtime::Role;
use pushpost::store::partitions::{create_day, drop_key_day, old_key_days};
use sqlx::PgConnection;
use sqlx::types::Uuid;

use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::request::service_without_workers;

use super::{assert_replays, body, post, send_first};

const WAITING: &str = "select count(*) from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'";

async fn today(db: &TestDatabase) -> NaiveDate {
    sqlx::query_scalar("select (now() at time zone 'UTC')::date").fetch_one(&db.pool).await.unwrap()
}

/// Stores one key as of a time. True: it was free.
async fn store(conn: &mut PgConnection, at: DateTime<Utc>, key: &str) -> bool {
    let digest = Uuid::from_bytes(IdempotencyKey::parse(key).unwrap().0);
    let taken: Vec<Uuid> = sqlx::query_scalar(
        "select store_idempotency_keys($1, array[1]::smallint[], array[$2], array[gen_random_uuid()],
                                       array[gen_random_uuid()], array[1], null, null, null, null, null)",
    )
    .bind(at)
    .bind(digest)
    .fetch_one(conn)
    .await
    .unwrap();
    taken.is_empty()
}

#[tokio::test]
async fn a_key_is_taken_for_24_hours_whenever_it_was_stored() {
    let db = TestDatabase::create().await;
    let mut conn = db.raw_connection().await;
    let day = today(&db).await + Days::new(2);
    let minutes = |minutes: i64| TimeDelta::minutes(minutes);
    for (number, since_midnight) in
        [0, 1, 59_000, 61_000, 43_200_000, 86_339_000, 86_341_000, 86_399_999].into_iter().enumerate()
    {
        let stored = day.and_time(chrono::NaiveTime::MIN).and_utc() + TimeDelta::milliseconds(since_midnight);
        let key = format!("k{number}");
        assert!(store(&mut conn, stored, &key).await);
        let day = minutes(24 * 60);
        for later in
            [minutes(0), minutes(1), minutes(2), minutes(12 * 60), day - minutes(2), day - minutes(1)]
        {
            assert!(!store(&mut conn, stored + later, &key).await, "{stored}, after {later}");
        }
        assert!(
            store(&mut conn, stored + day + minutes(3), &key).await,
            "{stored}: a key is free after a day"
        );
    }
}

/// Neither of two transactions that began on different days sees what the other one stores.
#[tokio::test]
async fn a_key_that_is_stored_on_both_sides_of_midnight_at_once_is_stored_once() {
    let db = TestDatabase::create().await;
    let (mut first, mut second) = (db.raw_connection().await, db.raw_connection().await);
    let midnight = (today(&db).await + Days::new(2)).and_time(chrono::NaiveTime::MIN).and_utc();
    let (before, after) = (midnight - TimeDelta::milliseconds(1), midnight + TimeDelta::milliseconds(1));
    for (key, first_at, second_at) in [("k", before, after), ("l", after, before)] {
        sqlx::raw_sql("begin").execute(&mut first).await.unwrap();
        assert!(store(&mut first, first_at, key).await);
        let (is_stored, ()) = tokio::join!(store(&mut second, second_at, key), async {
            db.until_count(WAITING, 1).await;
            sqlx::raw_sql("commit").execute(&mut first).await.unwrap();
        });
        assert!(!is_stored, "{key}");
    }
}

#[tokio::test]
async fn only_days_before_yesterday_are_dropped() {
    let db = TestDatabase::create().await;
    let mut conn = db.pool.acquire().await.unwrap();
    let today = today(&db).await;
    let (old, older) = (today - Days::new(2), today - Days::new(3));
    assert!(
        old_key_days(&mut conn).await.unwrap().is_empty(),
        "yesterday has keys that are younger than 24 h"
    );
    create_day(&mut conn, old).await.unwrap();
    create_day(&mut conn, older).await.unwrap();
    let detach =
        format!("alter table idempotency_keys detach partition idempotency_keys_{}", older.format("%Y%m%d"));
    db.execute(&detach).await;
    assert_eq!(old_key_days(&mut conn).await.unwrap(), [older, old]);
    for day in [older, old] {
        drop_key_day(&mut conn, day).await.unwrap();
    }
    assert!(old_key_days(&mut conn).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_drops_old_days_and_leaves_keys_that_are_kept() {
    let mut service = service_without_workers(&[]).await;
    let s = service.key("send").await;
    let first = send_first(&service, &s, "k", &body("f1")).await;
    let day = today(&service.database).await - Days::new(2);
    let mut conn = service.database.pool.acquire().await.unwrap();
    create_day(&mut conn, day).await.unwrap();
    drop(conn);
    service.end_nodes().await;
    service.node(Role::Api).await;
    let table = format!("idempotency_keys_{}", day.format("%Y%m%d"));
    service.database.until_count(&format!("select count(to_regclass('{table}'))"), 0).await;
    assert_replays(&post(&s, "k", &body("f1")).of(&service).await, &first);
    service.stop_undecided().await;
}
