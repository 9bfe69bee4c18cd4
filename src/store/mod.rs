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
