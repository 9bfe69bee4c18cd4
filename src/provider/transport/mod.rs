//! TLS and HTTP/2 connections to one origin, and their pool. Independent of providers.
//!
//! It exists because no existing client has what sending pushes needs:
//!
//! - several connections to one origin, with the least loaded one chosen
//! - streams limited by the peer's present SETTINGS
//! - a fast end of dead connections
//! - for every failure, whether the peer may have processed the request (`TransportError::sent`,
//!   docs/providers.md#http2-rules)
//!
//! # Layout
//!
//! | file | purpose |
//! |---|---|
//! | `pool` | the public [`Pool`] |
//! | `pool_state` | counts connections, open streams and waiters; the only lock |
//! | `opener` | opens one connection at a time, with growing pauses after failures |
//! | `dial` | one connect: name, TCP, TLS, ALPN, HTTP/2 preface |
//! | `tunnel` | the connect through an HTTP proxy |
//! | `driver` | the task that moves a connection's frames, sends pings and ends the connection |
//! | `connection` | the state of one connection that streams, pool and driver share |
//! | `exchange` | sends one request and receives its answer |
//! | `wire` | gathers writes; counts reads and writes, which show whether a request was sent and a connection is alive |
//!
//! # Invariants
//!
//! - A stream count changes only under the pool's lock. A freed stream goes to the longest waiter in the same step, so no
//!   wake-up is lost and waiters are served in order.
//! - A draining connection never gets a new stream, and lives only as long as a request may take, plus a few seconds.
//! - A connection with an unanswered PING gets no new streams. Waiters get another connection, which is opened if needed.
//! - Every await on the network has a deadline. Every task ends with the pool.

mod connection;
mod connection_state;
mod dial;
mod driver;
mod error;
mod exchange;
mod opener;
mod pool;
mod pool_state;
mod request_history;
mod stream_limits;
mod tls;
mod tunnel;
mod wire;

use std::sync::Arc;
use std::time::Duration;

pub use error::{Sent, TransportError, TransportErrorKind};
pub use exchange::{ConnectionRef, Response, Stream};
pub use pool::{Pool, PoolStats};
pub use tls::{TlsError, tls};
pub use tunnel::ProxyAddress;

/// Most bytes of an answer's body that are kept. Answers of providers have a few hundred bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// The origin that a pool connects to, and how it is reached.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Host name or address. Each connect resolves it again, and the certificate must be valid for it.
    pub host: String,
    /// The TCP port of the origin.
    pub port: u16,
    /// The HTTP proxy to connect through. `None` connects directly.
    pub proxy: Option<ProxyAddress>,
    /// TLS settings, made by [`tls()`]. ALPN must offer `h2`.
    pub tls: Arc<rustls::ClientConfig>,
}

/// The limits and time-outs of a pool.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most connections that take new streams. Draining connections come on top.
    pub connections: usize,
    /// Most open streams per connection. The peer may allow fewer.
    pub max_streams: usize,
    /// Most open streams on a fresh connection. The number doubles after that many answers, up to the limits of this
    /// pool and the peer. A 5xx answer does not count. A value of `max_streams` or more turns the slow start off.
    pub first_streams: usize,
    /// Allows one stream at a time until [`ConnectionRef::mark_proven`], as APNs requires with provider tokens
    /// (docs/providers.md#apns-http2).
    pub prove_first: bool,
    /// Longest connect: name resolution, TCP, TLS and HTTP/2 preface together.
    pub connect_timeout: Duration,
    /// Longest request, from [`Stream::send`] to the last byte of the answer.
    pub request_timeout: Duration,
    /// When to send a PING after silence; `None` sends none.
    pub ping: Option<PingSettings>,
    /// Closes a connection that had no open stream for this long.
    pub idle_close: Option<Duration>,
    /// A connection takes no new streams after this age, which is shortened at random by up to a tenth.
    pub max_age: Duration,
    /// A connection is given up after this many time-outs in a row without an answer; 0 means never.
    pub evict_after_timeouts: u32,
}

/// When to test a silent connection, and for how long to wait (docs/providers.md#connection-failures).
#[derive(Clone, Debug)]
pub struct PingSettings {
    /// A PING is sent if nothing was read for this long while an answer is due. Until the next read no stream is
    /// opened.
    pub after_silence: Duration,
    /// The connection is dropped if nothing was read for this long after the PING.
    pub deadline: Duration,
    /// A PING is also sent if no stream is open and nothing was read for this long. `None` sends none while idle,
    /// because FCM has closed connections for such pings (docs/providers.md#connection-failures).
    pub while_idle: Option<Duration>,
}

#[cfg(test)]
mod tests;
