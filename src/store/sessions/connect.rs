//! Opens a connection: host by host, and again while Postgres starts or has too many connections.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::pool::PoolInner;
use super::{InTransaction, PooledConnection, SessionState, faults, setup};

/// Pause between two rounds over the hosts: doubled from the first value up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));
/// A new connection waits at most this long until the server has ended lost sessions, which takes milliseconds.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(1);
/// Each of several hosts has at least this long to answer.
const HOST_TIMEOUT_MIN: Duration = Duration::from_secs(1);

impl PoolInner {
    /// Tries each host. If the errors may pass, tries all hosts again until `until`. Returns the last error.
    pub(super) async fn connect(&self, until: Instant) -> Result<PooledConnection, sqlx::Error> {
        // The server may have a limit of connections, and a lost session counts until it has ended.
        let _late = timeout(SETTLE_TIMEOUT, self.shared.orphans.settled()).await;
        let mut pause = PAUSES.0;
        loop {
            let error = match self.try_hosts().await {
                Ok(held) => return Ok(held),
                Err(error) => error,
            };
            if !faults::is_passing(&error) || Instant::now() + pause >= until {
                return Err(error);
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Tries each host once, the current one first. Of several errors it returns one that may pass, if there is one: of
    /// a host that starts rather than of a host that refuses.
    async fn try_hosts(&self) -> Result<PooledConnection, sqlx::Error> {
        let mut refusal = None;
        for _ in 0..self.shared.hosts.count() {
            let (place, _) = self.shared.hosts.current();
            let error = match self.try_current().await {
                Ok(held) => return Ok(held),
                Err(error) => error,
            };
            self.shared.hosts.skip(place);
            if refusal.as_ref().is_none_or(|before| !faults::is_passing(before)) {
                refusal = Some(error);
            }
        }
        Err(refusal.unwrap_or_else(faults::is_gone))
    }

    async fn try_current(&self) -> Result<PooledConnection, sqlx::Error> {
        let generation = self.shared.generation.load(Ordering::Acquire);
        let (_, host) = self.shared.hosts.current();
        let mut limit = self.limits.connect;
        let is_one_of_several = self.shared.hosts.count() > 1;
        if is_one_of_several {
            limit =
                (limit / u32::try_from(self.shared.hosts.count()).unwrap_or(u32::MAX)).max(HOST_TIMEOUT_MIN);
        }
        let opening = async {
            let logs_events = self.shared.logs_events.load(Ordering::Acquire);
            let deadline = Some(self.limits.statement);
            let (mut conn, backend) = setup::open(host, self.purpose, deadline, logs_events).await?;
            if is_one_of_several {
                setup::check_writable(&mut conn).await?;
            }
            Ok::<_, sqlx::Error>((conn, backend))
        };
        let (conn, backend) = match timeout(limit, opening).await {
            Ok(opened) => opened?,
            Err(_) => return Err(faults::no_answer("a connection attempt", limit)),
        };
        let state =
            SessionState { backend, generation, busy: false, transaction: InTransaction::No, broken: false };
        let now = Instant::now();
        Ok(PooledConnection { conn, state, connected_at: now, idle_since: now })
    }
}
