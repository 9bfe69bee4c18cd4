//! What became of a commit whose answer was lost.
//!
//! The server may still run the transaction, or may not even have read the statement: it was on its way when the
//! connection broke. To look for the rows tells nothing then, since they may come later. So the server is told to end
//! the session, and only a session that has ended has a last word.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep, timeout};

use super::Error;
use crate::store::{Session, SessionPool, Transaction};

/// How long it may take to find out. Disposition a session takes milliseconds; the rest is for a database that comes
/// back.
pub const FIND_OUT: Duration = Duration::from_secs(10);
/// Between two questions.
const STEP: Duration = Duration::from_millis(50);

/// A session of the server. The start tells it from a later one with the same number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerSession {
    pid: i32,
    started_at: DateTime<Utc>,
}

/// A transaction of a server; after a restart of the server, or on another one, the number may mean another
/// transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransactionMark {
    xid: i64,
    server_started_at: DateTime<Utc>,
    /// The time of the transaction, by the only clock whose times are stored.
    pub begun_at: DateTime<Utc>,
}

impl Error {
    /// Was the answer lost, so that what was asked for may have been done?
    pub fn is_lost_answer(&self) -> bool {
        match self {
            Self::Database(
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_)
                | sqlx::Error::WorkerCrashed,
            ) => true,
            // A session that is ended (57P01 to 57P05) may have committed just before.
            _ => self.sqlstate().is_some_and(|code| code.starts_with("57P") || code.starts_with("08")),
        }
    }
}

/// The session of a connection.
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

/// The transaction that is open on a connection; it counts as one that writes from then on.
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

/// Commits. If the answer is lost, finds out what became of the transaction, within [`FIND_OUT`].
///
/// # Errors
/// Nothing was changed; or [`Error::OutcomeUnknown`].
pub async fn commit(pool: &SessionPool, mut transaction: Transaction<'static>) -> Result<(), Error> {
    let mark = mark(&mut transaction).await?;
    commit_marked(pool, transaction, &mark).await
}

/// As [`commit`], with the mark that was taken before: a round trip less.
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
    tracing::warn!(%error, "the answer to a commit was lost; asking what became of it");
    let ask = || {
        Box::pin(async move {
            let mut conn = pool.acquire().await?;
            fate(&mut conn, mark).await
        }) as Lookup<'_, bool>
    };
    match find_out(ask).await {
        Some(true) => Ok(()),
        Some(false) => Err(error),
        None => Err(Error::OutcomeUnknown),
    }
}

/// Ends a session whose answer was lost, and waits until it has ended: nothing is committed by it any more. False: this
/// could not be found out within [`FIND_OUT`].
pub async fn end(pool: &SessionPool, session: &ServerSession) -> bool {
    let ask = || {
        Box::pin(async move {
            let mut conn = pool.acquire().await?;
            Ok((!told_to_end(&mut conn, session).await?).then_some(()))
        }) as Lookup<'_, ()>
    };
    find_out(ask).await.is_some()
}

/// A question to the database; none: it has no answer yet.
pub type Lookup<'a, T> = BoxFuture<'a, Result<Option<T>, Error>>;

/// Asks until there is an answer, for at most [`FIND_OUT`].
pub async fn find_out<'a, T>(mut ask: impl FnMut() -> Lookup<'a, T>) -> Option<T> {
    let give_up = Instant::now() + FIND_OUT;
    loop {
        let left = give_up.saturating_duration_since(Instant::now());
        match timeout(left, ask()).await {
            Ok(Ok(Some(answer))) => return Some(answer),
            Ok(Ok(None) | Err(_)) => sleep(STEP.min(left)).await,
            Err(_) => return None,
        }
        if left.is_zero() {
            return None;
        }
    }
}

/// True: the session was still there, and was told to end.
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

/// Committed or not; none: it is not known yet, and a session that still holds the transaction was told to end.
async fn fate(conn: &mut Session, mark: &TransactionMark) -> Result<Option<bool>, Error> {
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
