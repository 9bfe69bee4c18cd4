//! Runs the statements of a session, each with the deadline of its pool, and decides after an error whether the
//! connection stays.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, Stream, StreamExt as _, TryStreamExt as _};
use sqlx::postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Describe, Either, Execute, Executor, PgConnection, Postgres, SqlStr};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::DatabaseTime;
use super::faults::{ConnectionVerdict, class, is_gone, no_answer, verdict};
use super::pool::PoolInner;
use super::{InTransaction, Session, SessionPool, SessionState};
use crate::telemetry::metrics::PostgresErrorClass;

type StatementItem = Result<Either<PgQueryResult, PgRow>, sqlx::Error>;

/// The deadline of one statement, and what its end means for the connection.
struct Watch<'e> {
    state: &'e mut SessionState,
    pool: &'e PoolInner,
    deadline: Duration,
    started: Instant,
}

impl Session {
    /// The connection, the watch over its next statement, and whether a `ROLLBACK` must be sent first.
    fn start(&mut self) -> Result<(&mut PgConnection, Watch<'_>, bool), sqlx::Error> {
        let held = self.held.as_mut().filter(|held| !held.state.broken).ok_or_else(is_gone)?;
        held.state.busy = true;
        let abandoned = held.state.transaction == InTransaction::Abandoned;
        let deadline = self.pool.limits.statement;
        let watch = Watch { state: &mut held.state, pool: &self.pool, deadline, started: Instant::now() };
        Ok((&mut held.conn, watch, abandoned))
    }

    /// Checks that the connection answers, in one round trip without a statement.
    ///
    /// # Errors
    /// The connection is lost, or does not answer in time.
    pub async fn ping(&mut self) -> Result<(), sqlx::Error> {
        self.watched(|conn| Box::pin(sqlx::Connection::ping(conn))).await
    }

    /// Runs a call of `sqlx` on the connection as one statement.
    async fn watched<'e, T: Send>(
        &'e mut self,
        run: impl FnOnce(&'e mut PgConnection) -> BoxFuture<'e, Result<T, sqlx::Error>> + Send,
    ) -> Result<T, sqlx::Error> {
        let (conn, mut watch, abandoned) = self.start()?;
        let running = async {
            if abandoned {
                conn.execute("ROLLBACK").await?;
            }
            run(conn).await
        };
        match timeout_at(watch.until(), running).await {
            Ok(Ok(answer)) => {
                watch.ended();
                Ok(answer)
            }
            Ok(Err(error)) => {
                watch.failed(&error);
                Err(error)
            }
            Err(_) => Err(watch.give_up()),
        }
    }
}

impl Watch<'_> {
    fn until(&self) -> Instant {
        self.started + self.deadline
    }

    /// Adds the time of the statement to the node's and to the task's.
    fn measure(&self) {
        let took = self.started.elapsed();
        self.pool.metrics.seconds.observe(took);
        DatabaseTime::add(took);
    }

    /// Notes that the statement has succeeded.
    fn ended(&mut self) {
        self.measure();
        self.leave();
    }

    /// Leaves the connection as it was before the statement.
    fn leave(&mut self) {
        self.state.busy = false;
        self.pool.note_success();
        if self.state.transaction == InTransaction::Abandoned {
            self.state.transaction = InTransaction::No;
        }
    }

    fn failed(&mut self, error: &sqlx::Error) {
        self.measure();
        self.pool.metrics.errors(class(error)).inc();
        let verdict = verdict(error);
        if verdict == ConnectionVerdict::Keep {
            return self.leave();
        }
        self.state.broken = true;
        self.pool.note_failure(error);
        if verdict == ConnectionVerdict::DistrustAll {
            self.pool.shared.distrust(self.state.generation);
            self.pool.shared.end_on_server(self.state.backend.clone());
        }
    }

    /// Ends the statement at its deadline: the connection died in silence, or the statement waits on the server. Other
    /// connections are not distrusted, because each one that was idle is pinged before it is lent.
    fn give_up(&mut self) -> sqlx::Error {
        let error = no_answer("a statement", self.deadline);
        self.measure();
        self.pool.metrics.errors(PostgresErrorClass::Timeout).inc();
        self.state.broken = true;
        self.pool.note_failure(&error);
        self.pool.shared.end_on_server(self.state.backend.clone());
        error
    }
}

/// The rows and results of a statement, until its deadline.
struct StatementStream<'e> {
    items: BoxStream<'e, StatementItem>,
    watch: Watch<'e>,
    /// Made when the statement is waited for the first time.
    timer: Option<Pin<Box<Sleep>>>,
    over: bool,
}

impl Stream for StatementStream<'_> {
    type Item = StatementItem;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<StatementItem>> {
        if self.over {
            return Poll::Ready(None);
        }
        match self.items.poll_next_unpin(cx) {
            Poll::Ready(Some(Ok(answer))) => Poll::Ready(Some(Ok(answer))),
            Poll::Ready(Some(Err(error))) => {
                self.over = true;
                self.watch.failed(&error);
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                self.over = true;
                self.watch.ended();
                Poll::Ready(None)
            }
            Poll::Pending => {
                let until = self.watch.until();
                let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
                ready!(timer.as_mut().poll(cx));
                self.over = true;
                Poll::Ready(Some(Err(self.watch.give_up())))
            }
        }
    }
}

impl<'c> Executor<'c> for &'c mut Session {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, StatementItem>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let (conn, watch, abandoned) = match self.start() {
            Ok(started) => started,
            Err(error) => return Box::pin(stream::once(std::future::ready(Err(error)))),
        };
        let answers = match abandoned {
            false => conn.fetch_many(query),
            true => Box::pin(
                stream::once(async move {
                    conn.execute("ROLLBACK").await?;
                    Ok::<_, sqlx::Error>(conn.fetch_many(query))
                })
                .try_flatten(),
            ),
        };
        Box::pin(StatementStream { items: answers, watch, timer: None, over: false })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Box::pin(self.watched(|conn| conn.fetch_optional(query)))
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        Box::pin(self.watched(|conn| conn.prepare_with(sql, parameters)))
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'c: 'e,
    {
        Box::pin(self.watched(|conn| conn.describe(sql)))
    }
}

/// Runs one statement on a session that is borrowed for it.
impl<'p> Executor<'p> for &'p SessionPool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, StatementItem>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let answers = async move {
            let mut session = self.acquire().await?;
            let answers: Vec<StatementItem> = session.fetch_many(query).collect().await;
            Ok::<_, sqlx::Error>(stream::iter(answers))
        };
        Box::pin(stream::once(answers).try_flatten())
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Box::pin(async move { self.acquire().await?.fetch_optional(query).await })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'p: 'e,
    {
        Box::pin(async move { self.acquire().await?.prepare_with(sql, parameters).await })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'p: 'e,
    {
        Box::pin(async move { self.acquire().await?.describe(sql).await })
    }
}
