//! Checks at a start whether the configured Postgres can be used: it can be reached, is new enough, stores UTF-8, and
//! takes writes.
//!
//! The check opens its own connections, because a pool reports its own time-out instead of the server's error.

use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::PostgresUrl;
use crate::store;
use crate::store::server::ServerInfo;

/// The major versions that the tests run on. Older ones lack features that our statements use.
const OLDEST: u32 = 14;
const NEWEST: u32 = 18;
/// A server that is up answers within this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two tries: no load for a server, and no delay for a start.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// Between two log lines about a server that is not available yet.
const LOG_INTERVAL: Duration = Duration::from_secs(5);

const TRANSACTION_MODE: &str = "a connection pooler in transaction or statement mode is in front of it; set the pooler to \
                                session mode, or connect to PostgreSQL itself";

/// Why Postgres can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PostgresUnusable {
    /// The server can't be used, and waiting does not help.
    #[error("PostgreSQL at {server} can't be used: {reason}")]
    Refused {
        /// Host and port.
        server: String,
        /// The error of the server or the system, or what is wrong with the database.
        reason: String,
    },
    /// The server is not available, and waiting was not asked for.
    #[error("PostgreSQL at {server} is not available: {reason}")]
    Unavailable {
        /// Host and port.
        server: String,
        /// The reason of the only try.
        reason: String,
    },
    /// The server was not available in time.
    #[error("PostgreSQL at {server} is not available after {} s: {reason}", .waited.as_secs())]
    TimedOut {
        /// Host and port.
        server: String,
        /// The value of `database.start_timeout`.
        waited: Duration,
        /// The reason of the last try.
        reason: String,
    },
    /// The start was told to end.
    #[error("the start was stopped")]
    Stopped,
}

/// Why a try failed.
#[derive(PartialEq, Eq, Debug)]
enum ConnectFailure {
    /// May pass by itself: nothing listens, all connections are taken, the server starts or is a standby.
    Temporary(String),
    /// Stays until an operator changes something.
    Permanent(String),
}

/// The hosts that a URL names, in their order.
///
/// # Errors
/// The driver can't use the value of a parameter.
pub(super) fn hosts_of(url: &PostgresUrl) -> Result<Vec<PgConnectOptions>, sqlx::Error> {
    url.hosts.iter().map(|host| url.url_of(host).parse()).collect()
}

/// Tries once. Returns the hosts, with the first one that can be used in front.
///
/// # Errors
/// [`PostgresUnusable::Refused`] and [`PostgresUnusable::Unavailable`].
pub(super) async fn check(hosts: &[PgConnectOptions]) -> Result<Vec<PgConnectOptions>, PostgresUnusable> {
    let server = || store::addresses(hosts);
    try_all(hosts).await.map_err(|failure| match failure {
        ConnectFailure::Temporary(reason) => PostgresUnusable::Unavailable { server: server(), reason },
        ConnectFailure::Permanent(reason) => PostgresUnusable::Refused { server: server(), reason },
    })
}

/// Tries until a host can be used, and logs the reason every 5 s meanwhile. Returns the hosts, with the first one that
/// can be used in front.
///
/// # Errors
/// See [`PostgresUnusable`].
pub(super) async fn wait_until_usable(
    hosts: &[PgConnectOptions],
    patience: Duration,
    stop: &CancellationToken,
) -> Result<Vec<PgConnectOptions>, PostgresUnusable> {
    let started = Instant::now();
    let mut logged: Option<Instant> = None;
    loop {
        let tried = tokio::select! {
            tried = try_all(hosts) => tried,
            () = stop.cancelled() => return Err(PostgresUnusable::Stopped),
        };
        let reason = match tried {
            Ok(usable) => return Ok(usable),
            Err(ConnectFailure::Permanent(reason)) => {
                return Err(PostgresUnusable::Refused { server: store::addresses(hosts), reason });
            }
            Err(ConnectFailure::Temporary(reason)) => reason,
        };
        let left = patience.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(PostgresUnusable::TimedOut {
                server: store::addresses(hosts),
                waited: patience,
                reason,
            });
        }
        if logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            logged = Some(Instant::now());
            tracing::warn!(
                server = store::addresses(hosts),
                error = reason,
                left_secs = left.as_secs(),
                "waiting for PostgreSQL: {reason}"
            );
        }
        tokio::select! {
            () = sleep(RETRY_INTERVAL.min(left)) => {}
            () = stop.cancelled() => return Err(PostgresUnusable::Stopped),
        }
    }
}

/// With several hosts, the reason names each. The failure is permanent only if it is permanent on every host.
async fn try_all(hosts: &[PgConnectOptions]) -> Result<Vec<PgConnectOptions>, ConnectFailure> {
    let (mut reasons, mut is_permanent) = (Vec::new(), true);
    for (place, host) in hosts.iter().enumerate() {
        let reason = match try_once(host).await {
            Ok(()) => {
                let (before, usable) = hosts.split_at(place);
                return Ok([usable, before].concat());
            }
            Err(ConnectFailure::Permanent(reason)) => reason,
            Err(ConnectFailure::Temporary(reason)) => {
                is_permanent = false;
                reason
            }
        };
        reasons.push(if hosts.len() > 1 { format!("{}: {reason}", store::address(host)) } else { reason });
    }
    let reasons = reasons.join("; ");
    Err(if is_permanent { ConnectFailure::Permanent(reasons) } else { ConnectFailure::Temporary(reasons) })
}

async fn try_once(options: &PgConnectOptions) -> Result<(), ConnectFailure> {
    let no_answer =
        |_| ConnectFailure::Temporary(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()));
    let connected = timeout(CONNECT_TIMEOUT, PgConnection::connect_with(options)).await.map_err(no_answer)?;
    let mut conn = connected.map_err(|error| classify(&error))?;
    // Checked first, because behind a pooler in transaction mode everything else fails with misleading messages.
    let pooling = timeout(CONNECT_TIMEOUT, store::check_session_pooling(options)).await.map_err(no_answer)?;
    if !pooling.map_err(|error| classify(&error))? {
        return Err(ConnectFailure::Permanent(TRANSACTION_MODE.to_owned()));
    }
    let described = timeout(CONNECT_TIMEOUT, store::server::describe(&mut conn)).await.map_err(no_answer)?;
    // The answers are there, so an error at the end of the connection does not matter.
    let _ = timeout(CONNECT_TIMEOUT, conn.close()).await;
    judge(&described.map_err(|error| ConnectFailure::Temporary(error.to_string()))?)
}

/// A refused login (class 28) and a missing database (3D000) are permanent, because an operator must act.
fn classify(error: &sqlx::Error) -> ConnectFailure {
    let reason = store::error_text(error);
    let code = error.as_database_error().and_then(|error| error.code());
    let is_permanent = match (error, code.as_deref()) {
        (sqlx::Error::Configuration(_), _) => true,
        (_, Some(code)) => code.starts_with("28") || code == "3D000",
        _ => false,
    };
    if is_permanent { ConnectFailure::Permanent(reason) } else { ConnectFailure::Temporary(reason) }
}

fn judge(found: &ServerInfo) -> Result<(), ConnectFailure> {
    let major = found.version / 10_000;
    if major < OLDEST {
        let reason = format!("it is version {major}; PostgreSQL {OLDEST} to {NEWEST} are supported");
        return Err(ConnectFailure::Permanent(reason));
    }
    if found.encoding != "UTF8" {
        let encoding = &found.encoding;
        let reason = format!(
            "the database's encoding is {encoding}, and must be UTF8: create it with ENCODING 'UTF8' TEMPLATE template0"
        );
        return Err(ConnectFailure::Permanent(reason));
    }
    if found.is_standby || found.is_read_only {
        let what = if found.is_standby { "it is a standby" } else { "default_transaction_read_only is on" };
        return Err(ConnectFailure::Temporary(format!("the server takes no writes: {what}")));
    }
    if !store::is_durable(&found.synchronous_commit) {
        tracing::info!(
            synchronous_commit = found.synchronous_commit,
            detail = "the database's value may lose commits that were answered",
            "pushpost sets synchronous_commit to on for its own sessions"
        );
    }
    if major > NEWEST {
        tracing::warn!(
            version = major,
            detail = format!("this program is tested with versions {OLDEST} to {NEWEST}"),
            "PostgreSQL {major} is newer than the tested versions"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(version: u32, encoding: &str) -> ServerInfo {
        let synchronous_commit = "on".to_owned();
        let encoding = encoding.to_owned();
        ServerInfo { version, encoding, is_standby: false, is_read_only: false, synchronous_commit }
    }

    #[test]
    fn servers_that_can_never_be_used_differ_from_those_that_may_later() {
        for version in [140_000, 150_004, 180_001, 190_000] {
            assert_eq!(judge(&found(version, "UTF8")), Ok(()), "{version}");
        }
        let is_permanent = |judged| matches!(judged, Err(ConnectFailure::Permanent(_)));
        assert!(is_permanent(judge(&found(130_011, "UTF8"))));
        assert!(is_permanent(judge(&found(150_000, "LATIN1"))));
        let standby = ServerInfo { is_standby: true, ..found(150_000, "UTF8") };
        let read_only = ServerInfo { is_read_only: true, ..found(150_000, "UTF8") };
        for later in [standby, read_only] {
            assert!(matches!(judge(&later), Err(ConnectFailure::Temporary(_))));
        }
    }
}
