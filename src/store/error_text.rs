//! The text of a database error for logs and for people: one line, in the server's own words.

use std::io;

/// The server's message with its SQLSTATE, or the system's message about the connection, on one line and without a
/// prefix. Never a `DETAIL`, because it quotes rows.
pub fn error_text(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => match error.code() {
            Some(code) => format!("{} (SQLSTATE {code})", error.message()),
            None => error.message().to_owned(),
        },
        sqlx::Error::Io(error) => of_system(error),
        sqlx::Error::Tls(error) => format!("TLS: {error}"),
        sqlx::Error::Configuration(error) => error.to_string(),
        sqlx::Error::PoolTimedOut => "no connection was free in time".to_owned(),
        sqlx::Error::PoolClosed => "the connections are closed".to_owned(),
        other => other.to_string(),
    }
}

/// The system's message in PostgreSQL's style: lower case, and without the error number.
fn of_system(error: &io::Error) -> String {
    // sqlx's own message tells the number of missing bytes, which helps no reader.
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return "the server ended the connection".to_owned();
    }
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_once_and_in_the_words_of_its_source() {
        let refused = sqlx::Error::Io(io::Error::from_raw_os_error(111));
        assert_eq!(error_text(&refused), "connection refused");
        assert_eq!(crate::store::Error::from(refused).to_string(), "database: connection refused");
        let gone = io::Error::new(io::ErrorKind::UnexpectedEof, "expected to read 5 bytes");
        assert_eq!(error_text(&sqlx::Error::Io(gone)), "the server ended the connection");
        assert!(!error_text(&sqlx::Error::PoolTimedOut).contains("pool"));
    }
}
