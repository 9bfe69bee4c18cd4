//! The proxy itself: each way to break a connection breaks it as named, and no other.

use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use tokio::time::timeout;

use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::held_time::until;
use pushpost_testkit::postgres_proxy::PostgresProxy;

/// Long enough to see that nothing comes, where the opposite would come at once.
const NOTHING_COMES: Duration = Duration::from_millis(300);

async fn connect(proxy: &PostgresProxy) -> PgConnection {
    PgConnection::connect_with(&proxy.options()).await.unwrap()
}

async fn is_read_only(conn: &mut PgConnection) -> bool {
    let setting: String =
        sqlx::query_scalar("select current_setting('transaction_read_only')").fetch_one(conn).await.unwrap();
    setting == "on"
}

/// The sessions of the database besides those of its own pool.
async fn sessions(database: &TestDatabase, like: &'static str) -> i64 {
    let sql = "select count(*) from pg_stat_activity
               where datname = current_database() and pid <> pg_backend_pid() and query like $1";
    sqlx::query_scalar(sql).bind(like).fetch_one(&database.pool).await.unwrap()
}

#[tokio::test]
async fn a_silent_connection_neither_answers_nor_ends_and_a_new_one_works() {
    let database = TestDatabase::create().await;
    let proxy = PostgresProxy::of(&database).await;
    let (mut one, mut other) = (connect(&proxy).await, connect(&proxy).await);
    one.execute("select 'chosen'").await.unwrap();
    other.execute("select 'spared'").await.unwrap();
    assert_eq!(proxy.silence_users_of("'chosen'"), 1);
    assert!(timeout(NOTHING_COMES, one.execute("select 2")).await.is_err());
    other.execute("select 2").await.unwrap();
    connect(&proxy).await.execute("select 2").await.unwrap();
    // The end of the connection does not reach the server either.
    drop(one);
    tokio::time::sleep(NOTHING_COMES).await;
    assert_eq!(sessions(&database, "%'chosen'%").await, 1);
    proxy.silence();
    assert!(timeout(NOTHING_COMES, other.execute("select 3")).await.is_err());
}

#[tokio::test]
async fn a_connection_is_cut_while_its_statement_still_runs() {
    let database = TestDatabase::create().await;
    let proxy = PostgresProxy::of(&database).await;
    let mut conn = connect(&proxy).await;
    database.pool.execute("create table cut (n int primary key)").await.unwrap();
    let mut lock = pushpost::store::begin(&database.pool).await.unwrap();
    lock.execute("insert into cut values (1), (2)").await.unwrap();
    proxy.cut_at("insert into cut");
    // By the simple protocol, then by the extended one.
    conn.execute("insert into cut values (1)").await.unwrap_err();
    assert!(proxy.has_cut());
    let mut conn = connect(&proxy).await;
    proxy.cut_at("insert into cut");
    sqlx::query("insert into cut values ($1)").bind(2).execute(&mut conn).await.unwrap_err();
    assert!(sessions(&database, "insert into cut%").await >= 1, "a statement still runs");
    lock.rollback().await.unwrap();
    until("both are stored", async || {
        let sum: Option<i64> =
            sqlx::query_scalar("select sum(n) from cut").fetch_one(&database.pool).await.unwrap();
        sum == Some(3)
    })
    .await;
}

#[tokio::test]
async fn open_sessions_turn_read_only_once_and_new_ones_are_writable() {
    let database = TestDatabase::create().await;
    let proxy = PostgresProxy::of(&database).await;
    let (mut idle, mut busy) = (connect(&proxy).await, connect(&proxy).await);
    assert!(!is_read_only(&mut idle).await);
    let mut transaction = busy.begin().await.unwrap();
    assert!(!is_read_only(&mut transaction).await);
    assert_eq!(proxy.make_read_only().await, 2);
    assert!(is_read_only(&mut idle).await);
    assert!(!is_read_only(&mut transaction).await, "not inside a transaction");
    transaction.commit().await.unwrap();
    assert!(is_read_only(&mut busy).await);
    assert!(!is_read_only(&mut connect(&proxy).await).await);
}
