//! All SQL of the service, as functions over a connection. Statements are checked at compile time.
//!
//! One file per subject. Without `DATABASE_URL` the macros read the committed `.sqlx`; `make sqlx` writes it anew. How
//! a connection is got is the matter of [`sessions`]. The tables are described in `migrations/`.

pub mod accept;
pub mod apps;
pub mod backlog;
pub mod cancellation;
pub mod checkup;
pub mod cleanups;
pub mod commits;
pub mod contents;
pub mod dashboard;
pub mod deliveries;
pub mod devices;
pub mod environments;
pub mod erasures;
mod error_text;
pub mod events;
pub mod fan_outs;
pub mod figures;
pub mod idempotency;
pub mod jobs;
pub mod keys;
pub mod lane_minutes;
pub mod lanes;
pub mod leader;
pub mod migrations;
pub mod nodes;
pub mod notification_list;
pub mod notifications;
pub mod partitions;
pub mod planner;
pub mod quarantine;
pub mod record;
pub mod scheduled;
pub mod server;
pub mod sessions;
pub mod status;
pub mod timeline;
pub mod tokens;
pub mod topics;
pub mod waiting_jobs;
pub mod webhooks;

use std::fmt;

pub use error_text::error_text;
pub use sessions::{
    DatabaseTime, Purpose, Session, SessionListener, SessionPool, Transaction, address, addresses, begin,
    check_session_pooling, is_durable,
};

/// An error of the database.
#[derive(thiserror::Error)]
pub enum Error {
    /// Postgres answered with an error, or is out of reach.
    #[error("database: {}", error_text(.0))]
    Database(sqlx::Error),
    /// A row holds a value that no version of Pushpost writes.
    #[error("{table}.{column} of row {row} holds an unknown value")]
    Inconsistent {
        /// The row's table.
        table: &'static str,
        /// The column with the value.
        column: &'static str,
        /// The number of the row.
        row: i64,
    },
    /// The answer to a commit was lost, and the outcome could not be found out in time.
    #[error("the outcome of a commit is unknown")]
    OutcomeUnknown,
    /// Other transactions changed the same rows several times in a row.
    #[error("lost a race for the same rows too often")]
    Contended,
}

/// The message has the cause already, so there is no source: a chain of errors would tell it twice.
impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl Error {
    /// True if the same statement may succeed later: the database was out of reach, short of something, or going down.
    /// Nothing is wrong with the values (docs/queue.md#poisoned-values). A server that has become read-only (class 25)
    /// is out of reach for us.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Database(
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed
                // The other side does not speak as Postgres does: a proxy that has no server behind it right now.
                | sqlx::Error::Protocol(_),
            )
            | Self::Contended => true,
            _ => {
                let class = self.sqlstate_class();
                self.is_lock_timeout() || matches!(class.as_deref(), Some("08" | "25" | "40" | "53" | "57"))
            }
        }
    }

    /// The error of work that several transactions do, of which at least one was committed. It must not say that nothing was
    /// stored.
    pub fn of_partial_work(self) -> Self {
        if self.is_unavailable() { Self::OutcomeUnknown } else { self }
    }

    /// True if another session held a lock for longer than the statement may wait.
    pub fn is_lock_timeout(&self) -> bool {
        self.sqlstate().as_deref() == Some("55P03")
    }

    /// The SQLSTATE of an error that Postgres answered with.
    pub fn sqlstate(&self) -> Option<String> {
        match self {
            Self::Database(sqlx::Error::Database(error)) => error.code().map(|code| code.into_owned()),
            _ => None,
        }
    }

    /// True for a value that can't be stored (classes 22, 23, 54). The same batch would fail for ever, so it is halved
    /// until the value is found (docs/queue.md#poisoned-values). Everything else may pass when it is tried again.
    pub fn is_poison(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Encode(_)) => true,
            _ => self.sqlstate().is_some_and(|code| matches!(code.get(..2), Some("22" | "23" | "54"))),
        }
    }

    /// The first two characters of the SQLSTATE: 22, 23 and 54 are faults of the values.
    pub fn sqlstate_class(&self) -> Option<String> {
        self.sqlstate().and_then(|code| code.get(..2).map(str::to_owned))
    }
}

/// As `Display`, because Postgres's details quote rows, and rows hold tokens.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreachable_database_is_worth_another_try_and_a_bad_row_is_not() {
        assert!(Error::from(sqlx::Error::PoolTimedOut).is_unavailable());
        let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert!(Error::from(sqlx::Error::Io(reset)).is_unavailable());
        assert!(!Error::from(sqlx::Error::RowNotFound).is_unavailable());
        let odd = Error::Inconsistent { table: "devices", column: "platform", row: 1 };
        assert!(!odd.is_unavailable());
        assert_eq!(format!("{odd:?}"), "devices.platform of row 1 holds an unknown value");
    }
}
