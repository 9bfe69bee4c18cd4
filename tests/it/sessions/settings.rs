//! The settings that a session needs do not depend on those of the database or the role.

use pushpost::store::{Purpose, SessionPool};
use sqlx::{AssertSqlSafe, Executor};

use pushpost_testkit::database::TestDatabase;

async fn setting(pool: &SessionPool, name: &'static str) -> String {
    sqlx::query_scalar("select current_setting($1)").bind(name).fetch_one(pool).await.unwrap()
}

/// Sets a value for the database of a test.
async fn set(database: &TestDatabase, assignment: &str) {
    let sql = "select current_database()";
    let name: String = sqlx::query_scalar(sql).fetch_one(&database.pool).await.unwrap();
    let sql = AssertSqlSafe(format!("alter database {name} set {assignment}"));
    database.pool.execute(sql).await.unwrap();
}

#[tokio::test]
async fn a_stricter_synchronous_commit_stays() {
    let database = TestDatabase::create().await;
    set(&database, "synchronous_commit = remote_apply").await;
    let pool = SessionPool::new(database.url().parse().unwrap(), Purpose::Accept, 1);
    assert_eq!(setting(&pool, "synchronous_commit").await, "remote_apply");
}

#[tokio::test]
async fn settings_for_durability_and_plans_override_the_databases() {
    let database = TestDatabase::create().await;
    for assignment in [
        "synchronous_commit = off",
        "default_transaction_isolation = serializable",
        "enable_seqscan = on",
        "jit = on",
        "statement_timeout = '9s'",
    ] {
        set(&database, assignment).await;
    }
    for purpose in [
        Purpose::Requests,
        Purpose::Queue,
        Purpose::Accept,
        Purpose::Record,
        Purpose::Maintenance,
        Purpose::Observe,
    ] {
        let pool = SessionPool::new(database.url().parse().unwrap(), purpose, 1);
        assert_eq!(setting(&pool, "synchronous_commit").await, "on", "{purpose:?}");
        assert_eq!(setting(&pool, "transaction_isolation").await, "read committed", "{purpose:?}");
        assert_eq!(setting(&pool, "enable_seqscan").await, "off", "{purpose:?}");
        assert_eq!(setting(&pool, "jit").await, "off", "{purpose:?}");
        assert_ne!(setting(&pool, "statement_timeout").await, "9s", "{purpose:?}");
        assert_eq!(setting(&pool, "client_connection_check_interval").await, "2s", "{purpose:?}");
        // Of a Unix socket these are 0.
        if !database.url().contains("host=") && !database.url().contains("%2F") {
            assert_eq!(setting(&pool, "tcp_keepalives_idle").await, "10", "{purpose:?}");
        }
    }
}
