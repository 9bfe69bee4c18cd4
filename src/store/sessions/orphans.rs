//! Ends on the server what runs on connections that were thrown away: a server process that waits behind a lock, or
//! whose client is gone in silence, would keep its place and its locks.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tokio::time::{sleep, timeout};

use super::hosts::Hosts;

/// The server's process of a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Backend {
    pub(super) pid: i32,
    /// As text: process ids come again.
    pub(super) started: String,
}

/// Sessions that the server is still to end.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    backends: Vec<Backend>,
    /// A task is at work on them.
    has_task: bool,
}

/// To connect and to end all that wait.
const PATIENCE: Duration = Duration::from_secs(10);
/// After so many failures in a row the server's own time-outs are left to do it.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

const END: &str = "
    select pg_terminate_backend(pid) from pg_stat_activity
    join unnest($1::int[], $2::text[]) as orphan (pid, started) using (pid)
    where backend_start::text = started";

impl Orphans {
    /// Adds a session. True: the caller starts [`Self::run`].
    pub(super) fn add(&self, backend: Backend) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.backends.push(backend);
        !std::mem::replace(&mut waiting.has_task, true)
    }

    /// Ends the sessions that wait, over one connection of its own, and returns when none is left.
    pub(super) async fn run(&self, hosts: &Hosts) {
        let mut failures = 0;
        loop {
            let backends = {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                if waiting.backends.is_empty() || failures == ATTEMPTS {
                    waiting.backends.clear();
                    waiting.has_task = false;
                    return;
                }
                waiting.backends.clone()
            };
            match timeout(PATIENCE, end_all(hosts, &backends)).await {
                Ok(Ok(())) => {
                    failures = 0;
                    let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                    waiting.backends.retain(|backend| !backends.contains(backend));
                }
                _ => {
                    failures += 1;
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

async fn end_all(hosts: &Hosts, backends: &[Backend]) -> Result<(), sqlx::Error> {
    let mut conn = PgConnection::connect_with(hosts.current().1).await?;
    let pids: Vec<i32> = backends.iter().map(|backend| backend.pid).collect();
    let started: Vec<String> = backends.iter().map(|backend| backend.started.clone()).collect();
    // Once for each lost connection, on a connection of its own: not worth a prepared statement.
    let ended: Vec<bool> =
        sqlx::query_scalar(END).bind(pids).bind(started).persistent(false).fetch_all(&mut conn).await?;
    if !ended.is_empty() {
        tracing::debug!(sessions = ended.len(), "sessions of lost connections are ended on the server");
    }
    conn.close().await
}
