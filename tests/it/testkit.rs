//! What the test kit gives to tests: databases, and a clock that they hold.

use std::time::Duration;

use pushpost::store::{Purpose, SessionPool};
use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::held_time::HeldTime;

#[tokio::test]
async fn a_test_has_a_migrated_database_of_its_own() {
    let (one, other) = (TestDatabase::create().await, TestDatabase::create().await);
    sqlx::query("insert into apps (name) values ('shop')").execute(&one.pool).await.unwrap();
    let by_url = SessionPool::new(one.url().parse().unwrap(), Purpose::Requests, 1);
    for (pool, apps) in [(&one.pool, 1), (&by_url, 1), (&other.pool, 0)] {
        let found: i64 = sqlx::query_scalar("select count(*) from apps").fetch_one(pool).await.unwrap();
        assert_eq!(found, apps);
    }
}

/// Without it, a pool that pauses after a refused connection would pause for ever.
#[tokio::test]
async fn a_held_clock_moves_on_when_the_test_itself_waits_for_it() {
    let _time = HeldTime::hold();
    tokio::time::sleep(Duration::from_secs(2)).await;
}
