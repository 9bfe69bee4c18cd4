//! Whether the configured Postgres can be used: it is reached, new enough, holds UTF-8, and takes writes.
//!
//! Tried on connections of its own: a pool tells of its own time-out, not why the server refuses.

use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::PostgresUrl;
use crate::store;
use crate::store::server::ServerInfo;

/// The major versions that the tests know. An older one lacks what our statements use.
const OLDEST: u32 = 14;
const NEWEST: u32 = 18;
/// A server that lives answers a connection within this time.
const CONNECT: Duration = Duration::from_secs(5);
/// Between two tries: little for a server, and soon enough for a start.
const STEP: Duration = Duration::from_millis(250);
/// Between two lines about a server that is waited for.
const TOLD: Duration = Duration::from_secs(5);

const TRANSACTION_MODE: &str = "a connection pooler in transaction or statement mode is in front of it; set the pooler to \
                                session mode, or connect to PostgreSQL itself";

/// Why Postgres can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PostgresUnusable {
    /// Waiting would not help, or was not asked for.
    #[error("PostgreSQL at {server} can't be used: {reason}")]
    Refused {
        /// Host and port.
        server: String,
        /// In the server's own words, or the system's.
        reason: String,
    },
    /// It was waited for in vain.
    #[error("PostgreSQL at {server} is not available after {} s: {reason}", .waited.as_secs())]
    TimedOut {
        /// Host and port.
        server: String,
        /// `database.start_timeout`.
        waited: Duration,
        /// The last one.
        reason: String,
    },
    /// The start was told to end.
    #[error("the start was stopped")]
    Stopped,
}

/// Why a try failed.
#[derive(PartialEq, Eq, Debug)]
enum ConnectFailure {
    /// It may pass: nothing listens, all connections are taken, the server starts or is a standby.
    Temporary(String),
    /// It stays until an operator changes something.
    Permanent(String),
}

/// The hosts that a URL names, in their order.
///
/// # Errors
/// The driver can't use the value of a parameter.
pub(super) fn hosts_of(url: &PostgresUrl) -> Result<Vec<PgConnectOptions>, sqlx::Error> {
    url.hosts.iter().map(|host| url.url_of(host).parse()).collect()
}

/// One try: the hosts, with the first one that can be used in front.
///
/// # Errors
/// [`PostgresUnusable::Refused`].
pub(super) async fn check(hosts: &[PgConnectOptions]) -> Result<Vec<PgConnectOptions>, PostgresUnusable> {
    try_all(hosts).await.map_err(|classify| {
        let (ConnectFailure::Temporary(reason) | ConnectFailure::Permanent(reason)) = classify;
        PostgresUnusable::Refused { server: store::addresses(hosts), reason }
    })
}

/// Tries again and again, and tells every few seconds what is in the way. Returns the hosts, with the first one that can be
/// used in front.
///
/// # Errors
/// See [`PostgresUnusable`].
pub(super) async fn wait_until_usable(
    hosts: &[PgConnectOptions],
    patience: Duration,
    stop: &CancellationToken,
) -> Result<Vec<PgConnectOptions>, PostgresUnusable> {
    let begun = Instant::now();
    let mut told: Option<Instant> = None;
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
        let left = patience.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(PostgresUnusable::TimedOut {
                server: store::addresses(hosts),
                waited: patience,
                reason,
            });
        }
        if told.is_none_or(|at| at.elapsed() >= TOLD) {
            told = Some(Instant::now());
            tracing::warn!(
                server = store::addresses(hosts),
                error = reason,
                left_secs = left.as_secs(),
                "waiting for PostgreSQL: {reason}"
            );
        }
        tokio::select! {
            () = sleep(STEP.min(left)) => {}
            () = stop.cancelled() => return Err(PostgresUnusable::Stopped),
        }
    }
}

/// Of several hosts, the reason names each. What is in the way stays only if it stays on every host.
async fn try_all(hosts: &[PgConnectOptions]) -> Result<Vec<PgConnectOptions>, ConnectFailure> {
    let (mut reasons, mut lasts) = (Vec::new(), true);
    for (place, host) in hosts.iter().enumerate() {
        let reason = match try_once(host).await {
            Ok(()) => {
                let (before, usable) = hosts.split_at(place);
                return Ok([usable, before].concat());
            }
            Err(ConnectFailure::Permanent(reason)) => reason,
            Err(ConnectFailure::Temporary(reason)) => {
                lasts = false;
                reason
            }
        };
        reasons.push(if hosts.len() > 1 { format!("{}: {reason}", store::address(host)) } else { reason });
    }
    let reasons = reasons.join("; ");
    Err(if lasts { ConnectFailure::Permanent(reasons) } else { ConnectFailure::Temporary(reasons) })
}

async fn try_once(options: &PgConnectOptions) -> Result<(), ConnectFailure> {
    let silent = |_| ConnectFailure::Temporary(format!("no answer within {} s", CONNECT.as_secs()));
    let connected = timeout(CONNECT, PgConnection::connect_with(options)).await.map_err(silent)?;
    let mut conn = connected.map_err(|error| classify(&error))?;
    // First, because a pooler in transaction mode fails everything else with messages that mislead.
    let pooling = timeout(CONNECT, store::check_session_pooling(options)).await.map_err(silent)?;
    if !pooling.map_err(|error| classify(&error))? {
        return Err(ConnectFailure::Permanent(TRANSACTION_MODE.to_owned()));
    }
    let described = timeout(CONNECT, store::server::describe(&mut conn)).await.map_err(silent)?;
    // All that was asked is answered; how the connection ends changes nothing.
    let _ = timeout(CONNECT, conn.close()).await;
    judge(&described.map_err(|error| ConnectFailure::Temporary(error.to_string()))?)
}

/// A refused login (class 28) and a database that is not there (3D000) are told at once: somebody has to change something.
fn classify(error: &sqlx::Error) -> ConnectFailure {
    let reason = store::words(error);
    let code = error.as_database_error().and_then(|error| error.code());
    let lasts = match (error, code.as_deref()) {
        (sqlx::Error::Configuration(_), _) => true,
        (_, Some(code)) => code.starts_with("28") || code == "3D000",
        _ => false,
    };
    if lasts { ConnectFailure::Permanent(reason) } else { ConnectFailure::Temporary(reason) }
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
            "pushpost sets synchronous_commit to on for its own sessions, because the database's value may lose \
             commits that were answered"
        );
    }
    if major > NEWEST {
        tracing::warn!(
            version = major,
            "PostgreSQL {major} is newer than the versions that this program was tested with"
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
    fn a_server_that_can_not_be_used_is_told_from_one_that_may_be_later() {
        for version in [140_000, 150_004, 180_001, 190_000] {
            assert_eq!(judge(&found(version, "UTF8")), Ok(()), "{version}");
        }
        let lasting = |judged| matches!(judged, Err(ConnectFailure::Permanent(_)));
        assert!(lasting(judge(&found(130_011, "UTF8"))));
        assert!(lasting(judge(&found(150_000, "LATIN1"))));
        let standby = ServerInfo { is_standby: true, ..found(150_000, "UTF8") };
        let read_only = ServerInfo { is_read_only: true, ..found(150_000, "UTF8") };
        for later in [standby, read_only] {
            assert!(matches!(judge(&later), Err(ConnectFailure::Temporary(_))));
        }
    }
}
