//! Statements have deadlines; a dropped statement or session leaves neither a permit of the pool nor a server process behind.

use std::time::Duration;

use pushpost::store::{self, Purpose, SessionPool};
use sqlx::Executor;
use tokio::time::{Instant, sleep, timeout};

use pushpost_testkit::database::TestDatabase;
use pushpost_testkit::held_time::until;
use pushpost_testkit::postgres_proxy::PostgresProxy;

/// Longer than a second: a connection that was idle for so long is asked before it is lent.
const DEADLINE: Duration = Duration::from_millis(1_200);
const ROUNDS: usize = 24;

fn pool(url: &str, sessions_max: u32) -> SessionPool {
    SessionPool::new(url.parse().unwrap(), Purpose::Requests, sessions_max).with_statement_deadline(DEADLINE)
}

async fn pid(pool: &SessionPool) -> i32 {
    sqlx::query_scalar("select pg_backend_pid()").fetch_one(pool).await.unwrap()
}

/// Server processes that wait for a lock.
async fn waiting(database: &TestDatabase) -> i64 {
    let sql = "select count(*) from pg_stat_activity
               where datname = current_database() and wait_event_type = 'Lock'";
    sqlx::query_scalar(sql).fetch_one(&database.pool).await.unwrap()
}

/// 24 statements freeze behind a row lock, two at a time.
#[tokio::test]
async fn statements_stuck_behind_a_row_lock_free_their_permit_and_backend() {
    let database = TestDatabase::create().await;
    let proxy = PostgresProxy::of(&database).await;
    database.pool.execute("create table counter (n int)").await.unwrap();
    database.pool.execute("insert into counter values (0)").await.unwrap();
    let mut holder = database.raw_connection().await;
    let mut lock = sqlx::Connection::begin(&mut holder).await.unwrap();
    lock.execute("update counter set n = 1").await.unwrap();
    // A connection attempt may freeze as well.
    let pool = pool(proxy.url(), 2).with_patience(DEADLINE);
    for _ in 0..ROUNDS / 2 {
        let count = || async {
            let mut session = pool.acquire().await?;
            sqlx::query("update counter set n = n + 1").execute(&mut session).await
        };
        // Whether a statement waits by then, or its connection is lost before it: it fails either way.
        let freeze = async {
            let begun = Instant::now();
            while begun.elapsed() < DEADLINE / 2 && waiting(&database).await == 0 {
                sleep(DEADLINE / 50).await;
            }
            proxy.silence();
        };
        let (one, other, ()) = tokio::join!(count(), count(), freeze);
        for failed in [one, other] {
            assert!(store::Error::from(failed.unwrap_err()).is_unavailable());
        }
    }
    // The lock is still held: it is not its end that ends them.
    until("no server process waits", async || waiting(&database).await == 0).await;
    until("the pool has both its places", async || {
        let (one, other) = tokio::join!(pool.acquire(), pool.acquire());
        one.is_ok() && other.is_ok()
    })
    .await;
    lock.commit().await.unwrap();
    let n: i32 = sqlx::query_scalar("select n from counter").fetch_one(&pool).await.unwrap();
    assert_eq!(n, 1, "what was given up is not done later");
}

/// Frozen again and again, idle and lent sessions alike leave nothing behind on the server.
#[tokio::test]
async fn sessions_that_die_idle_are_ended_on_the_server() {
    const SESSIONS: u32 = 4;
    let database = TestDatabase::create().await;
    let proxy = PostgresProxy::of(&database).await;
    let requests = pool(proxy.url(), SESSIONS);
    // A pool that is not used again.
    let others = requests.sibling(Purpose::Queue, SESSIONS);
    let on_server = "select count(*) from pg_stat_activity
        where datname = current_database() and application_name = 'frozen'";
    for _ in 0..6 {
        for pool in [&requests, &others] {
            let sessions = futures_util::future::join_all((0..SESSIONS).map(|_| pool.acquire())).await;
            for session in sessions {
                session.unwrap().execute("set application_name = 'frozen'").await.unwrap();
            }
        }
        proxy.silence();
        sleep(Duration::from_millis(1_100)).await;
        requests.execute("select 1").await.unwrap();
        until("the server has ended them", async || {
            let count: i64 = sqlx::query_scalar(on_server).fetch_one(&database.pool).await.unwrap();
            count == 0
        })
        .await;
    }
}

/// A wait behind a lock says nothing about the network: one session goes, and the others stay.
#[tokio::test]
async fn a_wait_behind_a_lock_ends_by_itself_and_costs_no_other_session() {
    let database = TestDatabase::create().await;
    let pool = SessionPool::new(database.url().parse().unwrap(), Purpose::Requests, 2);
    let other = pool.acquire().await.unwrap();
    let other_pid = pid_of(other).await;
    database.pool.execute("create table counter (n int)").await.unwrap();
    let mut holder = database.raw_connection().await;
    let mut lock = sqlx::Connection::begin(&mut holder).await.unwrap();
    lock.execute("lock table counter").await.unwrap();
    let mut session = pool.acquire().await.unwrap();
    let first: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut session).await.unwrap();
    let error = session.execute("update counter set n = 1").await.unwrap_err();
    let error = store::Error::from(error);
    assert!(error.is_lock_timeout() && error.is_unavailable(), "{error}");
    let again: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut session).await.unwrap();
    assert_eq!(again, first);
    assert!(pool.failing_since().is_none());
    drop((session, lock));
    let sessions = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
    let mut pids = Vec::new();
    for session in sessions {
        pids.push(pid_of(session).await);
    }
    assert!(pids.contains(&other_pid), "{pids:?}");
}

async fn pid_of(mut session: store::Session) -> i32 {
    sqlx::query_scalar("select pg_backend_pid()").fetch_one(&mut session).await.unwrap()
}

#[tokio::test]
async fn after_one_silent_connection_equally_old_ones_are_not_used() {
    let database = TestDatabase::create().await;
    let proxy = PostgresProxy::of(&database).await;
    let pool = pool(proxy.url(), 4);
    let all = futures_util::future::join_all((0..4).map(|_| pool.acquire())).await;
    drop(all);
    proxy.silence();
    assert!(pool.failing_since().is_none());
    let lost = pool.execute("select 1").await.unwrap_err();
    assert!(store::Error::from(lost).is_unavailable());
    assert!(pool.failing_since().is_some());
    for _ in 0..4 {
        pool.execute("select 1").await.unwrap();
    }
    assert!(pool.failing_since().is_none());
}

#[tokio::test]
async fn sessions_that_turn_read_only_fail_once_and_count_as_unavailable() {
    let database = TestDatabase::create().await;
    let proxy = PostgresProxy::of(&database).await;
    let pool = pool(proxy.url(), 4);
    pool.execute("create table things (n int)").await.unwrap();
    drop(futures_util::future::join_all((0..4).map(|_| pool.acquire())).await);
    proxy.make_read_only().await;
    let refused = store::Error::from(pool.execute("insert into things values (1)").await.unwrap_err());
    assert_eq!(refused.sqlstate().as_deref(), Some("25006"));
    assert!(refused.is_unavailable());
    for _ in 0..4 {
        pool.execute("insert into things values (1)").await.unwrap();
    }
}

#[tokio::test]
async fn a_session_survives_errors_of_values_and_no_others() {
    let database = TestDatabase::create().await;
    let pool = pool(database.url(), 1);
    let first = pid(&pool).await;
    pool.execute("select 1 / 0").await.unwrap_err();
    assert_eq!(pid(&pool).await, first);
    pool.execute("select nonsense").await.unwrap_err();
    assert_ne!(pid(&pool).await, first);
}

#[tokio::test]
async fn a_transaction_that_is_dropped_is_rolled_back_before_the_next_statement() {
    let database = TestDatabase::create().await;
    let pool = pool(database.url(), 1);
    pool.execute("create table things (n int)").await.unwrap();
    let mut session = pool.acquire().await.unwrap();
    let mut transaction = session.begin().await.unwrap();
    transaction.execute("insert into things values (1)").await.unwrap();
    drop(transaction);
    session.execute("insert into things values (2)").await.unwrap();
    let mut transaction = session.begin().await.unwrap();
    transaction.execute("insert into things values (4)").await.unwrap();
    transaction.commit().await.unwrap();
    drop(session);
    let mut whole = store::begin(&pool).await.unwrap();
    whole.execute("insert into things values (8)").await.unwrap();
    drop(whole);
    let sum: i64 = sqlx::query_scalar("select sum(n) from things").fetch_one(&pool).await.unwrap();
    assert_eq!(sum, 2 + 4);
}

/// A client hangs up: its statement is dropped, and the next borrower gets a session that is ready.
#[tokio::test]
async fn a_statement_that_is_dropped_leaves_a_session_that_is_ready() {
    let database = TestDatabase::create().await;
    let pool = pool(database.url(), 1);
    for sql in ["select pg_sleep(0.2)", "begin"] {
        let mut session = pool.acquire().await.unwrap();
        let dropped = timeout(Duration::from_millis(1), session.execute(sql)).await;
        drop(session);
        let answer: i32 = sqlx::query_scalar("select 42").fetch_one(&pool).await.unwrap();
        assert_eq!(answer, 42, "{sql}, {dropped:?}");
    }
    for _ in 0..20 {
        let _dropped = timeout(Duration::from_micros(300), store::begin(&pool)).await;
    }
    pool.execute("create table things (n int)").await.unwrap();
    let seen: i64 =
        sqlx::query_scalar("select count(*) from things").fetch_one(&database.pool).await.unwrap();
    assert_eq!(seen, 0, "the table is there for others: it was made outside of any transaction");
}
