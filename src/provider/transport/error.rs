//! Transport errors, and whether the peer may have processed the request.
//!
//! The rules are RFC 9113's (docs/providers.md#http2-rules). Not processed are: refused streams (REFUSED_STREAM),
//! streams above GOAWAY's last id, and requests that never left this process.
//!
//! `h2` reports a remote GOAWAY only to streams above its last id. Other streams go on, and fail with an I/O error if
//! the connection closes first. So a remote GOAWAY on a stream means that the stream was not processed.

use std::fmt;
use std::sync::Arc;

/// A failed request or reservation.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{kind} ({sent})")]
pub struct TransportError {
    /// Whether the peer may have processed the request.
    pub sent: Sent,
    /// The cause of the failure.
    pub kind: TransportErrorKind,
}

/// Whether the peer may have processed a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The request was certainly not processed, so a resend can't duplicate it.
    NotSent,
    /// The request may have been processed.
    MaybeSent,
}

/// The cause of a failure. Texts are for people and come from the system, TLS or the peer's GOAWAY.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportErrorKind {
    /// The host name could not be resolved.
    #[error("name resolution failed: {0}")]
    Dns(Arc<str>),
    /// No address accepted a TCP connection within the connect time-out.
    #[error("connect failed: {0}")]
    Connect(Arc<str>),
    /// TLS failed: certificate, protocol, or a peer without HTTP/2.
    #[error("TLS failed: {0}")]
    Tls(Arc<str>),
    /// No answer, or no free stream, before the deadline.
    #[error("deadline passed")]
    Timeout,
    /// The peer refused the stream (REFUSED_STREAM).
    #[error("stream refused")]
    Refused,
    /// The peer sent a GOAWAY and closes the connection.
    #[error("GOAWAY code {code}: {debug}")]
    GoAway {
        /// The HTTP/2 error code (RFC 9113 7).
        code: u32,
        /// The peer's debug text: JSON, plain text or empty; printable, at most 256 characters.
        debug: String,
    },
    /// The stream was reset with this HTTP/2 error code.
    #[error("stream reset with code {0}")]
    Reset(u32),
    /// The peer violated HTTP/2, so this side ended the connection or the stream with this error code.
    #[error("protocol violation by the peer, code {0}")]
    Protocol(u32),
    /// The connection ended without a GOAWAY.
    #[error("connection closed: {0}")]
    Closed(Arc<str>),
    /// The connection did not answer a PING in time.
    #[error("no answer to PING")]
    PingTimeout,
    /// The connection was given up after too many time-outs without any read.
    #[error("connection given up after time-outs")]
    Evicted,
    /// The connection takes no more requests (retired before this one was sent).
    #[error("connection retired")]
    Retired,
    /// The caller withdrew the request before it was sent.
    #[error("withdrawn")]
    Withdrawn,
    /// The pool is shut down.
    #[error("pool closed")]
    PoolClosed,
    /// The request is invalid in HTTP/2, which is a bug of the caller.
    #[error("unsendable request: {0}")]
    Invalid(Arc<str>),
}

/// Most characters that are kept of a GOAWAY's debug text.
const DEBUG_CHARS_MAX: usize = 256;

impl TransportError {
    pub(super) fn not_sent(kind: TransportErrorKind) -> Self {
        Self { sent: Sent::NotSent, kind }
    }

    pub(super) fn maybe_sent(kind: TransportErrorKind) -> Self {
        Self { sent: Sent::MaybeSent, kind }
    }

    /// Converts an error of a stream. The HEADERS of the stream may have been sent.
    pub(super) fn of_stream(error: &h2::Error) -> Self {
        let code = error.reason().map_or(0, u32::from);
        if error.is_go_away() && error.is_remote() {
            return Self::not_sent(go_away(error));
        }
        if error.is_reset() && error.is_remote() {
            return match error.reason() {
                Some(h2::Reason::REFUSED_STREAM) => Self::not_sent(TransportErrorKind::Refused),
                _ => Self::maybe_sent(TransportErrorKind::Reset(code)),
            };
        }
        Self::maybe_sent(of_connection(error))
    }

    /// Converts an error of `send_request`. Nothing was queued.
    pub(super) fn before_send(error: &h2::Error) -> Self {
        let kind = of_connection(error);
        match kind {
            TransportErrorKind::Protocol(0) => {
                Self::not_sent(TransportErrorKind::Invalid(error.to_string().into()))
            }
            kind => Self::not_sent(kind),
        }
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSent => "not sent",
            Self::MaybeSent => "may have been sent",
        })
    }
}

/// Why a connection ended, from the error of `h2`.
pub(super) fn of_connection(error: &h2::Error) -> TransportErrorKind {
    if let Some(io) = error.get_io() {
        return TransportErrorKind::Closed(io.to_string().into());
    }
    if error.is_go_away() && error.is_remote() {
        return go_away(error);
    }
    TransportErrorKind::Protocol(error.reason().map_or(0, u32::from))
}

fn go_away(error: &h2::Error) -> TransportErrorKind {
    let code = error.reason().map_or(0, u32::from);
    TransportErrorKind::GoAway { code, debug: debug_text(&error.to_string()) }
}

/// Reads the peer's debug data from the error message of `h2`, which offers no other access. The message ends in
/// `(b"…")`, a Rust byte string. No decision of the transport depends on this text.
fn debug_text(message: &str) -> String {
    let Some(start) = message.find("(b\"") else { return String::new() };
    let escaped = message[start + 3..].strip_suffix("\")").unwrap_or(&message[start + 3..]);
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next() {
            Some(b'n' | b'r' | b't') => bytes.push(b' '),
            Some(b'0') => bytes.push(0),
            Some(b'x') => {
                let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16)).unwrap_or(0);
                let value = digit(rest.next()) * 16 + digit(rest.next());
                bytes.push(u8::try_from(value).unwrap_or(b'?'));
            }
            Some(other) => bytes.push(other),
            None => {}
        }
    }
    String::from_utf8_lossy(&bytes).chars().filter(|c| !c.is_control()).take(DEBUG_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::debug_text;

    #[test]
    fn debug_data_is_unescaped_cut_and_printable() {
        assert_eq!(debug_text("connection error received: not a result of an error"), "");
        let json = r#"x: y (b"{\"reason\":\"Shutdown\"}\n\x01\xc3\xa9\\")"#;
        assert_eq!(debug_text(json), r#"{"reason":"Shutdown"} é\"#);
        let long = format!("x (b\"{}\")", "a".repeat(1000));
        assert_eq!(debug_text(&long).len(), 256);
    }
}
