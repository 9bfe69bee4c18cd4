//! Finds out the outcome of a commit after its answer was lost.
//!
//! The server may still run the transaction, or may not have read the statement yet. Looking for the rows proves
//! nothing then, because they may come later. So the server is told to end the session first. Once the session has
//! ended, the outcome is final. There are two ways to learn it:
//!
//! | way | learns the outcome by | costs | used by |
//! |---|---|---|---|
//! | [`session`], then [`end`] | looking for the rows, which have new ids | one question per connection | `queue::accept` |
//! | [`mark`], then [`commit_marked`], or [`commit`] for both | `pg_xact_status` of the transaction | one question per transaction | `registry`, which changes rows that were there before |
//!
//! The second way learns nothing once the server has restarted or is another one.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep, timeout};

use super::Error;
use crate::store::{Session, SessionPool, Transaction};

/// Longest time to find out an outcome. Ending a session takes milliseconds; the rest is for a database that comes
/// back.
pub const FIND_OUT_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two questions to the database.
const ASK_INTERVAL: Duration = Duration::from_millis(50);

/// A session of the server. Its start tells it from a later session with the same process id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerSession {
    pid: i32,
    started_at: DateTime<Utc>,
}

/// A transaction of a server. After a restart of the server, or on another server, the number may be that of another
/// transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransactionMark {
    xid: i64,
    server_started_at: DateTime<Utc>,
    /// The time of the transaction, by Postgres's clock.
    pub begun_at: DateTime<Utc>,
}

impl Error {
    /// True if the answer was lost, so that the statement may have been carried out.
    pub fn is_lost_answer(&self) -> bool {
        match self {
            Self::Database(
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::WorkerCrashed,
            ) => true,
            // A session that the server ends (57P01 to 57P05) may have committed just before.
            _ => self.sqlstate().is_some_and(|code| code.starts_with("57P") || code.starts_with("08")),
        }
    }
}

/// Reads which session of the server a connection has.
///
/// # Errors
/// Postgres is out of reach.
pub async fn session(conn: &mut Session) -> Result<ServerSession, Error> {
    let session = sqlx::query_as!(
        ServerSession,
        r#"
        select pid as "pid!", backend_start as "started_at!" from pg_stat_activity where pid = pg_backend_pid()
        "#
    );
    Ok(session.fetch_one(conn).await?)
}

/// Reads which transaction is open on a connection. From then on the server counts it as one that writes.
///
/// # Errors
/// Postgres is out of reach.
pub async fn mark(conn: &mut Session) -> Result<TransactionMark, Error> {
    let mark = sqlx::query_as!(
        TransactionMark,
        r#"
        select pg_current_xact_id()::text::bigint as "xid!", pg_postmaster_start_time() as "server_started_at!",
               now() as "begun_at!"
        "#
    );
    Ok(mark.fetch_one(conn).await?)
}

/// Commits. If the answer is lost, finds out the outcome, within [`FIND_OUT_TIMEOUT`].
///
/// # Errors
/// Nothing was changed, except perhaps with [`Error::OutcomeUnknown`].
pub async fn commit(pool: &SessionPool, mut transaction: Transaction<'static>) -> Result<(), Error> {
    let mark = mark(&mut transaction).await?;
    commit_marked(pool, transaction, &mark).await
}

/// As [`commit`], with a mark that was read before: one round trip less.
///
/// # Errors
/// As [`commit`].
pub async fn commit_marked(
    pool: &SessionPool,
    transaction: Transaction<'static>,
    mark: &TransactionMark,
) -> Result<(), Error> {
    let Err(error) = transaction.commit().await.map_err(Error::from) else { return Ok(()) };
    if !error.is_lost_answer() {
        return Err(error);
    }
    tracing::warn!(%error, detail = "the transaction is looked up", "answer to a commit is lost");
    let ask = || {
        Box::pin(async move {
            let mut conn = pool.acquire().await?;
            is_committed(&mut conn, mark).await
        }) as Lookup<'_, bool>
    };
    match find_out(ask).await {
        Some(true) => Ok(()),
        Some(false) => Err(error),
        None => Err(Error::OutcomeUnknown),
    }
}

/// Ends a session after its answer was lost, and waits until it has ended: it commits nothing any more. False: this
/// could not be found out within [`FIND_OUT_TIMEOUT`].
pub async fn end(pool: &SessionPool, session: &ServerSession) -> bool {
    let ask = || {
        Box::pin(async move {
            let mut conn = pool.acquire().await?;
            Ok((!told_to_end(&mut conn, session).await?).then_some(()))
        }) as Lookup<'_, ()>
    };
    find_out(ask).await.is_some()
}

/// A question to the database. Its answer is None while the outcome is not final.
pub type Lookup<'a, T> = BoxFuture<'a, Result<Option<T>, Error>>;

/// Asks until there is an answer, for at most [`FIND_OUT_TIMEOUT`].
pub async fn find_out<'a, T>(mut ask: impl FnMut() -> Lookup<'a, T>) -> Option<T> {
    let give_up = Instant::now() + FIND_OUT_TIMEOUT;
    loop {
        let left = give_up.saturating_duration_since(Instant::now());
        match timeout(left, ask()).await {
            Ok(Ok(Some(answer))) => return Some(answer),
            Ok(Ok(None) | Err(_)) => sleep(ASK_INTERVAL.min(left)).await,
            Err(_) => return None,
        }
        if left.is_zero() {
            return None;
        }
    }
}

/// Tells a session to end. True: it was still there.
async fn told_to_end(conn: &mut Session, session: &ServerSession) -> Result<bool, Error> {
    let told = sqlx::query_scalar!(
        r#"
        select pg_terminate_backend(pid) as "told!" from pg_stat_activity where pid = $1 and backend_start = $2
        "#,
        session.pid,
        session.started_at
    );
    Ok(told.fetch_optional(conn).await?.is_some())
}

/// Whether a transaction was committed. None: the question has to be repeated. Either the transaction is still open, and
/// its session was told to end; or this server can't know, because it has started since or is another one. The server
/// of the transaction may come back within [`FIND_OUT_TIMEOUT`].
async fn is_committed(conn: &mut Session, mark: &TransactionMark) -> Result<Option<bool>, Error> {
    let status = sqlx::query_scalar!(
        r#"
        select case
          when pg_postmaster_start_time() <> $2 then 'unknown'
          when pg_xact_status($1::bigint::text::xid8) <> 'in progress' then pg_xact_status($1::bigint::text::xid8)
          when (select bool_and(pg_terminate_backend(pid)) from pg_stat_activity
                where backend_xid = ($1::bigint::text::xid8)::xid) then 'told'
          else 'ending' end as "status!"
        "#,
        mark.xid,
        mark.server_started_at
    );
    Ok(match status.fetch_one(conn).await?.as_str() {
        "committed" => Some(true),
        "aborted" => Some(false),
        _ => None,
    })
}
