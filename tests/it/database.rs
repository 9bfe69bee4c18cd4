//! The databases that the test kit gives to tests.

use pushpost::store::{Purpose, SessionPool};
use pushpost_testkit::database::TestDatabase;

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
