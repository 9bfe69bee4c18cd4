//! All the SQL, checked at compile time, as functions over a connection, in verbs.
//!
//! One file per subject. With `DATABASE_URL` unset the macros read the committed `.sqlx`; `make sqlx` writes it anew.

pub mod accept;
pub mod expiry;
pub mod jobs;
pub mod lanes;
pub mod nodes;
pub mod notifications;
pub mod partitions;
pub mod record;

/// A statement failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Postgres, or the way there.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// A row that breaks an invariant of the schema.
    #[error("inconsistent row in {table}: {what}")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// Column and value.
        what: String,
    },
}

impl Error {
    /// SQLSTATE, where Postgres gave one.
    pub fn sqlstate(&self) -> Option<String> {
        match self {
            Self::Database(sqlx::Error::Database(error)) => error.code().map(|code| code.into_owned()),
            _ => None,
        }
    }

    /// A value that can't be stored (classes 22, 23, 54): the same batch fails for ever, so it is halved until the
    /// culprit stands alone (QUEUE.md 6). Everything else may pass when it is tried again.
    pub fn is_poison(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Encode(_) | sqlx::Error::Protocol(_)) => true,
            _ => self.sqlstate().is_some_and(|code| matches!(code.get(..2), Some("22" | "23" | "54"))),
        }
    }
}
