//! What an error means for the connection that it came over.

use std::io;
use std::time::Duration;

use crate::telemetry::metrics::PostgresErrorClass;

/// What happens to a connection after an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ConnectionVerdict {
    /// The connection stays. A fault of the values (classes 22, 23, 54), an ordinary serialization failure, or a lock
    /// that the statement would not wait for.
    Keep,
    /// The connection is thrown away.
    ThrowAway,
    /// The connection is thrown away, and so are the other connections of its generation: the server is gone, or has
    /// become read-only.
    DistrustAll,
}

/// Judges the connection by an error of one of its statements.
pub(super) fn verdict(error: &sqlx::Error) -> ConnectionVerdict {
    let sqlx::Error::Database(error) = error else {
        return match error {
            // The values could not be encoded, or the row not decoded: nothing is wrong with the connection.
            sqlx::Error::Encode(_)
            | sqlx::Error::Decode(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::RowNotFound => ConnectionVerdict::Keep,
            sqlx::Error::Io(_) => ConnectionVerdict::DistrustAll,
            _ => ConnectionVerdict::ThrowAway,
        };
    };
    let code = error.code().unwrap_or_default();
    match (code.get(..2), &*code) {
        (Some("22" | "23" | "54"), _) | (_, "40001" | "40P01" | "55P03") => ConnectionVerdict::Keep,
        // The statement was cancelled, or ran longer than the server allows.
        (_, "57014") => ConnectionVerdict::ThrowAway,
        (Some("08" | "25" | "57"), _) => ConnectionVerdict::DistrustAll,
        _ => ConnectionVerdict::ThrowAway,
    }
}

/// What kind of error it is, for the metrics.
pub(super) fn class(error: &sqlx::Error) -> PostgresErrorClass {
    let error = match error {
        sqlx::Error::Database(error) => error,
        sqlx::Error::PoolTimedOut => return PostgresErrorClass::Timeout,
        sqlx::Error::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
            return PostgresErrorClass::Timeout;
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => return PostgresErrorClass::Connection,
        sqlx::Error::Encode(_) | sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. } => {
            return PostgresErrorClass::Data;
        }
        _ => return PostgresErrorClass::Other,
    };
    let code = error.code().unwrap_or_default();
    match (code.get(..2), &*code) {
        (_, "55P03" | "57014") => PostgresErrorClass::Timeout,
        (Some("40"), _) => PostgresErrorClass::Serialization,
        (Some("22" | "23" | "54"), _) => PostgresErrorClass::Data,
        (Some("08" | "25" | "53" | "57"), _) => PostgresErrorClass::Connection,
        _ => PostgresErrorClass::Other,
    }
}

/// The error of a statement or attempt that had no answer by its deadline.
pub(super) fn no_answer(during: &str, deadline: Duration) -> sqlx::Error {
    let text = format!("no answer from Postgres to {during} within {} s", deadline.as_secs_f32());
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, text))
}

/// The error of a session after its connection was thrown away.
pub(super) fn is_gone() -> sqlx::Error {
    let text = "the connection was thrown away after an earlier error";
    sqlx::Error::Io(io::Error::new(io::ErrorKind::NotConnected, text))
}

/// True if a connection attempt that failed with this error may succeed a moment later.
pub(super) fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                // A proxy that has no server behind it at this moment.
                | io::ErrorKind::UnexpectedEof
                | io::ErrorKind::NotFound
        ),
        // Too many connections; the server starts up or shuts down.
        sqlx::Error::Database(error) => {
            matches!(error.code().as_deref(), Some("53300" | "57P01" | "57P02" | "57P03"))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_error_distrusts_all_connections_and_a_bad_value_none() {
        assert_eq!(
            verdict(&no_answer("a statement", Duration::from_secs(1))),
            ConnectionVerdict::DistrustAll
        );
        assert_eq!(verdict(&sqlx::Error::Decode("odd".into())), ConnectionVerdict::Keep);
        assert_eq!(verdict(&sqlx::Error::Protocol("odd".into())), ConnectionVerdict::ThrowAway);
    }

    #[test]
    fn a_late_answer_is_a_time_out_and_not_a_lost_connection() {
        assert_eq!(class(&no_answer("a statement", Duration::from_secs(1))), PostgresErrorClass::Timeout);
        assert_eq!(class(&sqlx::Error::PoolTimedOut), PostgresErrorClass::Timeout);
        assert_eq!(class(&is_gone()), PostgresErrorClass::Connection);
        assert_eq!(class(&sqlx::Error::Encode("odd".into())), PostgresErrorClass::Data);
    }
}
