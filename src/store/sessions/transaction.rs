//! Transactions that may be dropped at any time: what is not committed is rolled back before the next statement of the
//! session.
//!
//! A request is dropped whenever its client hangs up. sqlx 0.9 forgets a `BEGIN` if the future is dropped before the
//! answer, so these transactions are not sqlx's.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use sqlx::Executor as _;

use super::{InTransaction, Session, SessionPool};
use crate::store::Error;

/// A transaction on a session. Dropped without [`Self::commit`], it is rolled back.
#[derive(Debug)]
pub struct Transaction<'s> {
    session: Lent<'s>,
}

#[derive(Debug)]
enum Lent<'s> {
    Whole(Session),
    ForNow(&'s mut Session),
}

/// Begins a transaction on a session of its own. The future may be dropped at any time.
///
/// # Errors
/// Postgres is out of reach, or the pool has no session left.
pub async fn begin(pool: &SessionPool) -> Result<Transaction<'static>, Error> {
    begin_with(pool, "BEGIN").await
}

/// As [`begin`], with another statement in place of `BEGIN`.
pub(in crate::store) async fn begin_with(
    pool: &SessionPool,
    statement: &'static str,
) -> Result<Transaction<'static>, Error> {
    let session = Lent::Whole(pool.acquire().await?);
    Ok(Transaction::begin(session, statement).await?)
}

impl Session {
    /// Begins a transaction.
    ///
    /// # Errors
    /// Postgres is out of reach.
    pub async fn begin(&mut self) -> Result<Transaction<'_>, sqlx::Error> {
        Transaction::begin(Lent::ForNow(self), "BEGIN").await
    }

    fn set_transaction(&mut self, transaction: InTransaction) {
        if let Some(held) = &mut self.held {
            held.state.transaction = transaction;
        }
    }

    pub(super) fn is_in_transaction(&self) -> InTransaction {
        self.held.as_ref().map_or(InTransaction::No, |held| held.state.transaction)
    }
}

impl<'s> Transaction<'s> {
    async fn begin(mut session: Lent<'s>, statement: &'static str) -> Result<Self, sqlx::Error> {
        if session.is_in_transaction() == InTransaction::Abandoned {
            session.execute("ROLLBACK").await?;
        }
        session.set_transaction(InTransaction::Yes);
        // What an earlier transaction has left was rolled back.
        session.uncommitted.clear();
        session.has_uncommitted_events = false;
        // From here on a drop rolls back, whether the answer to BEGIN has come or not.
        let mut transaction = Self { session };
        transaction.session.execute(statement).await?;
        Ok(transaction)
    }

    /// Commits, so that the changes are durable and visible to others.
    ///
    /// # Errors
    /// As of any statement. After an error of the connection, the transaction may be committed or not.
    pub async fn commit(mut self) -> Result<(), sqlx::Error> {
        let ended = std::mem::take(&mut self.session.uncommitted);
        let has_events = std::mem::take(&mut self.session.has_uncommitted_events);
        let shared = Arc::clone(&self.session.pool.shared);
        self.end("COMMIT").await?;
        if has_events {
            shared.new_events.notify_one();
        }
        ended.into_iter().for_each(|(lane, status, devices)| shared.deliveries.add(lane, status, devices));
        Ok(())
    }

    /// Rolls back at once. After a drop, the session rolls back before its next statement.
    ///
    /// # Errors
    /// As of any statement; nothing is stored in any case.
    pub async fn rollback(self) -> Result<(), sqlx::Error> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        self.session.execute(statement).await?;
        self.session.set_transaction(InTransaction::No);
        Ok(())
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.session.is_in_transaction() == InTransaction::Yes {
            self.session.set_transaction(InTransaction::Abandoned);
        }
    }
}

impl Deref for Transaction<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl DerefMut for Transaction<'_> {
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.session
    }
}

impl Deref for Lent<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        match self {
            Self::Whole(session) => session,
            Self::ForNow(session) => session,
        }
    }
}

impl DerefMut for Lent<'_> {
    fn deref_mut(&mut self) -> &mut Session {
        match self {
            Self::Whole(session) => session,
            Self::ForNow(session) => session,
        }
    }
}
