//! A database with several hosts, and the report about a host that is out of reach.

use pushpost::store::{self, Purpose, SessionPool};
use sqlx::Executor;
use sqlx::postgres::PgConnectOptions;

use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::postgres_proxy::PostgresProxy;

fn over(hosts: Vec<PgConnectOptions>) -> SessionPool {
    SessionPool::over_hosts(hosts, Purpose::Requests, 2)
}

#[tokio::test]
async fn an_unreachable_host_is_left_for_the_next_one() {
    let database = TestDatabase::create().await;
    let (one, other) = (PostgresProxy::of(&database).await, PostgresProxy::of(&database).await);
    let pool = over(vec![one.options(), other.options()]);
    pool.execute("create table things (n int)").await.unwrap();
    assert_eq!((one.connections(), other.connections()), (1, 0));
    one.set_away(true);
    while let Err(error) = pool.execute("insert into things values (1)").await {
        assert!(store::Error::from(error).is_unavailable());
    }
    assert_eq!((one.connections(), other.connections()), (0, 1));
    one.set_away(false);
    other.set_away(true);
    while pool.execute("insert into things values (2)").await.is_err() {}
    assert_eq!((one.connections(), other.connections()), (1, 0), "back to the first one");
}

#[tokio::test]
async fn a_read_only_host_is_skipped() {
    let database = TestDatabase::create().await;
    let (standby, primary) = (PostgresProxy::of(&database).await, PostgresProxy::of(&database).await);
    let read_only = standby.options().options([("default_transaction_read_only", "on")]);
    let pool = over(vec![read_only.clone(), primary.options()]);
    pool.execute("create table things (n int)").await.unwrap();
    assert_eq!(primary.connections(), 1);
    let lost = over(vec![read_only.clone(), read_only]).execute("select 1").await.unwrap_err();
    assert_eq!(store::error_text(&lost), "the server takes no writes");
    assert!(store::Error::from(lost).is_unavailable());
}

/// A load balancer without a server behind it: sqlx asks for TLS first, and takes the end of the connection for an odd answer.
#[tokio::test]
async fn a_proxy_that_accepts_and_hangs_up_is_a_server_out_of_reach() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { while listener.accept().await.is_ok() {} });
    for mode in ["prefer", "require", "disable"] {
        let url = format!("postgres://u:p@127.0.0.1:{port}/d?sslmode={mode}");
        let pool = SessionPool::new(url.parse().unwrap(), Purpose::Requests, 1);
        let error = store::Error::from(pool.acquire().await.unwrap_err());
        assert!(error.is_unavailable(), "{mode}: {error}");
    }
}

/// One waits for a connection, and one for its place in the pool: both say what is wrong.
#[tokio::test]
async fn a_failed_wait_ends_with_the_message_of_the_failure() {
    let database = TestDatabase::create().await;
    let proxy = PostgresProxy::of(&database).await;
    proxy.set_away(true);
    let pool = SessionPool::new(proxy.options(), Purpose::Requests, 1);
    let (one, other) = tokio::join!(pool.acquire(), pool.acquire());
    for error in [one.unwrap_err(), other.unwrap_err()] {
        let words = store::error_text(&error);
        assert!(
            words.contains("connection reset") || words.contains("bytes") || words.contains("closed"),
            "{words}"
        );
        assert!(store::Error::from(error).is_unavailable());
    }
}
