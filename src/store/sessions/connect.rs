//! Opening a connection: host by host, and again while Postgres starts or has no place.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::pool::PoolInner;
use super::{InTransaction, PooledConnection, SessionState, faults, setup};

/// Between two rounds over the hosts: doubled from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));
/// A new connection waits so long for the end of lost sessions on the server, which takes milliseconds.
const SETTLE_MAX: Duration = Duration::from_secs(1);
/// One of several hosts has at least this long to answer.
const HOST_MIN: Duration = Duration::from_secs(1);

impl PoolInner {
    /// Tries each host, and all of them again until `until` where a moment may change the answer. The error is the last
    /// one.
    pub(super) async fn connect(&self, until: Instant) -> Result<PooledConnection, sqlx::Error> {
        // A place that a lost session still has on the server may be the one that is needed.
        let _late = timeout(SETTLE_MAX, self.shared.orphans.settled()).await;
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

    /// Tries each host once, the current one first. Of several hosts the error with the best prospect is returned: a
    /// host that starts, before a host that refuses.
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
            limit = (limit / u32::try_from(self.shared.hosts.count()).unwrap_or(u32::MAX)).max(HOST_MIN);
        }
        let opening = async {
            let (mut conn, backend) = setup::open(host, self.purpose, Some(self.limits.statement)).await?;
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
