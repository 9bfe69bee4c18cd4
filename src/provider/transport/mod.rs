//! TLS and HTTP/2 connections to one origin, and their pool. Knows no provider.
//!
//! It exists because no ready client does what pushing needs: several connections to one origin
//! with the least loaded chosen, streams bounded by what the peer allows at the moment, a fast end
//! for dead connections, and for every failure the answer to the one question that a caller has:
//! may the peer have acted on this request? (`TransportError::sent`, docs/providers.md#http2-rules.)
//!
//! # Layout
//!
//! | file | what it is |
//! |---|---|
//! | `pool` | the public [`Pool`] |
//! | `pool_state` | the account of connections, open streams and waiters; the only lock |
//! | `opener` | one connect at a time, with growing pauses after failures |
//! | `dial` | name, TCP, TLS, ALPN, HTTP/2 preface |
//! | `tunnel` | through an HTTP proxy |
//! | `driver` | the task that moves a connection's frames, pings it and ends it |
//! | `connection` | what streams, pool and driver share about one connection |
//! | `exchange` | one request and its answer |
//! | `wire` | gathers writes; counts reads and writes, the evidence for "never left" and "dead" |
//!
//! # Invariants
//!
//! - A stream count changes only under the pool_state's lock, and a freed place goes to the longest
//!   waiter in the same step, so no wake-up is lost and nobody is overtaken.
//! - A connection that drains never gets a new stream, and lives at most as long as a request may.
//! - A connection whose PING is unanswered gets no new stream: what waits goes to another, opened for it if need be.
//! - Every await on the network has a deadline; every task ends with the pool.

mod connection;
mod dial;
mod driver;
mod error;
mod exchange;
mod opener;
mod pool;
mod pool_state;
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

/// Most bytes of an answer's body that are kept; provider answers are a few hundred bytes.
pub const BODY_CAP: usize = 64 * 1024;

/// Where a pool connects to.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Host name or address: resolved anew at each connect, and the name that the certificate must bear.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The HTTP proxy that leads there; none: it is reached directly.
    pub proxy: Option<ProxyAddress>,
    /// TLS settings, as [`tls()`] makes them: ALPN must offer `h2`.
    pub tls: Arc<rustls::ClientConfig>,
}

/// How a pool behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Most connections that take new streams; draining ones come on top.
    pub connections: usize,
    /// Most streams that we open on a connection at once; the peer may allow fewer.
    pub max_streams: usize,
    /// Streams at once on a fresh connection. Doubles whenever so many were answered, up to what we and the peer
    /// allow; an answer in the 500s counts for nothing. From `max_streams` on there is no such start.
    pub first_streams: usize,
    /// One stream at a time until [`ConnectionRef::mark_proven`] (APNs token auth, docs/providers.md#apns-http2).
    pub prove_first: bool,
    /// Bound on one connect: name, TCP, TLS and HTTP/2 preface together.
    pub connect_timeout: Duration,
    /// Bound on one request, from [`Stream::send`] to the last byte of the answer.
    pub request_timeout: Duration,
    /// PING after silence; `None` sends none.
    pub ping: Option<PingSettings>,
    /// Closes a connection that had no stream open for so long.
    pub idle_close: Option<Duration>,
    /// A connection takes no new streams after this age, shortened at random by up to a tenth.
    pub max_age: Duration,
    /// Time-outs in a row, with no answer between, after which a connection is given up; 0 never.
    pub evict_after_timeouts: u32,
}

/// When to test a silent connection, and for how long to wait (docs/providers.md#connection-failures).
#[derive(Clone, Debug)]
pub struct PingSettings {
    /// Nothing read for so long while an answer is due: send a PING, and open no stream before something is read.
    pub after_silence: Duration,
    /// Nothing read for so long after the PING: the connection is dead.
    pub deadline: Duration,
    /// Also ping when no stream is open and nothing was read for so long. FCM has closed connections over that
    /// (docs/providers.md#connection-failures).
    pub while_idle: Option<Duration>,
}

#[cfg(test)]
mod tests;
