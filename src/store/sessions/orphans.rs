//! Ends sessions on the server after their connections were thrown away. Otherwise a server process that waits behind a
//! lock, or has lost its client in silence, would keep its connection slot and its locks.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::hosts::DatabaseHosts;

/// The server process of a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ServerProcess {
    pub(super) pid: i32,
    /// When the session began, as text. Process ids come again, so the id alone is not enough.
    pub(super) started: String,
}

/// Sessions that the server must still end.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    waiting: Mutex<VecDeque<ServerProcess>>,
    /// True while a task ends them.
    at_work: watch::Sender<bool>,
}

/// Longest time to connect and to end all waiting sessions.
const ROUND_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between attempts while the server is out of reach: doubled from the first value up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// Most waiting sessions. The oldest ones beyond are left to the server's own time-outs.
const WAITING_MAX: usize = 1_000;

const END: &str = "
    select pg_terminate_backend(pid) from pg_stat_activity
    join unnest($1::int[], $2::text[]) as orphan (pid, started) using (pid)
    where backend_start::text = started";

impl Orphans {
    /// Adds a session. True: the caller starts [`Self::run`].
    pub(super) fn add(&self, backend: ServerProcess) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push_back(backend);
        if waiting.len() > WAITING_MAX {
            waiting.pop_front();
        }
        !self.at_work.send_replace(true)
    }

    /// Returns when no session is left to end.
    pub(super) async fn settled(&self) {
        let mut at_work = self.at_work.subscribe();
        let _sender_lives = at_work.wait_for(|at_work| !at_work).await;
    }

    /// Ends the waiting sessions, over one connection of its own. Returns when none is left.
    pub(super) async fn run(&self, hosts: &DatabaseHosts) {
        let mut pause = PAUSES.0;
        loop {
            let backends: Vec<ServerProcess> = {
                let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                if waiting.is_empty() {
                    self.at_work.send_replace(false);
                    return;
                }
                waiting.iter().cloned().collect()
            };
            if let Ok(Ok(())) = timeout(ROUND_TIMEOUT, end_all(hosts, &backends)).await {
                pause = PAUSES.0;
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                waiting.retain(|backend| !backends.contains(backend));
            } else {
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
}

async fn end_all(hosts: &DatabaseHosts, backends: &[ServerProcess]) -> Result<(), sqlx::Error> {
    let mut conn = PgConnection::connect_with(hosts.current().1).await?;
    let pids: Vec<i32> = backends.iter().map(|backend| backend.pid).collect();
    let started: Vec<String> = backends.iter().map(|backend| backend.started.clone()).collect();
    // Not prepared: the connection runs this statement once.
    let ended: Vec<bool> =
        sqlx::query_scalar(END).bind(pids).bind(started).persistent(false).fetch_all(&mut conn).await?;
    if !ended.is_empty() {
        tracing::debug!(sessions = ended.len(), "sessions of lost connections are ended on the server");
    }
    conn.close().await
}
