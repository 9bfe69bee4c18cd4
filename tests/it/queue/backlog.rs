//! The size of the backlog, read without reading all of it.

use pushpost::provider::{apns, fcm};
use pushpost::queue::backlog::{Backlog, BacklogFull};
use pushpost::store;
use pushpost::store::SessionPool;
use sqlx::AssertSqlSafe;
use tokio::time::{Duration, sleep, timeout};

use pushpost_testkit::apps;
use pushpost_testkit::database::TestDatabase;

/// So many jobs of seven devices each; rows so large that 15 fill a page.
async fn wait(pool: &SessionPool, lane: i32, jobs: u32) {
    let sql = format!(
        "insert into jobs (notification_id, lane_id, priority, due_at, expires_at, device_count, devices, last_reason)
         select gen_random_uuid(), {lane}, 5, now(), now() + interval '1 day', 7, '{{1,2,3,4,5,6,7}}', repeat(md5(g::text), 12)
         from generate_series(1, {jobs}) g"
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap();
}

#[tokio::test]
async fn a_small_backlog_is_counted_and_a_large_one_estimated() {
    let database = TestDatabase::create().await;
    let pool = &database.pool;
    let (shop, other) = (apps::shop(pool).await, apps::app(pool, "other").await);
    let mut conn = pool.acquire().await.unwrap();
    assert_eq!(store::backlog::waiting(&mut conn).await.unwrap().len(), 0);
    let lane = |app: &pushpost::domain::App, key| app.lane(key).id.0;
    let sandbox = apns::lane(apns::SANDBOX);
    wait(pool, lane(&shop, fcm::LANE), 3).await;
    wait(pool, lane(&shop, sandbox), 1).await;
    wait(pool, lane(&other, fcm::LANE), 2).await;
    sqlx::raw_sql("update jobs set done = b'1010000' where job_id = 1").execute(pool).await.unwrap();
    let few = store::backlog::waiting(&mut conn).await.unwrap();
    assert_eq!((few[&shop.id], few[&other.id]), (4 * 7 - 2, 2 * 7));

    wait(pool, lane(&shop, fcm::LANE), 30_000).await;
    wait(pool, lane(&other, sandbox), 15_000).await;
    let pages: i64 =
        sqlx::query_scalar("select pg_relation_size('jobs') / 8192").fetch_one(pool).await.unwrap();
    assert!(pages > 2_000, "{pages}: the table is to be larger than a sample");
    let many = store::backlog::waiting(&mut conn).await.unwrap();
    for (app, waiting) in [(shop.id, 210_000_u64), (other.id, 105_000)] {
        let range = waiting * 3 / 4..waiting * 5 / 4;
        assert!(range.contains(&many[&app]), "{} of {waiting}", many[&app]);
    }
}

#[tokio::test]
async fn each_app_has_its_own_backlog_limit() {
    let database = TestDatabase::create().await;
    let pool = &database.pool;
    let (shop, other) = (apps::shop(pool).await, apps::app(pool, "other").await);
    wait(pool, shop.lane(fcm::LANE).id.0, 1).await;
    let backlog = Backlog::new(pool.clone(), 10);
    let full = Err(BacklogFull { limit: 10 });
    assert_eq!(backlog.admit(shop.id, 4).await, full);
    assert_eq!(backlog.admit(shop.id, 3).await, Ok(()));
    assert_eq!(backlog.admit(other.id, 100).await, Ok(()), "where nothing waits anything is taken");
    sqlx::raw_sql("delete from jobs").execute(pool).await.unwrap();
    let room = async {
        while backlog.admit(shop.id, 10).await == full {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(60), room).await.expect("room again");
}
