//! The event log on a real Postgres (docs/queue.md#event-log).

mod endings;
mod ends_of_receipts;
mod facts;
mod interleaving;
mod missing_day;
mod outbox;
mod retention;

use pushpost::domain::{AppId, LogPosition};
use pushpost::store::events::{self, LogEntry};
use pushpost::store::{Session, SessionPool};

/// The app of tests that need no row of one.
const APP: AppId = AppId(1);

/// Runs the sequencer until nothing is left to move.
async fn sequence_all(conn: &mut Session, limit: i64) {
    loop {
        let moved = events::sequence(conn, limit).await.unwrap();
        if moved.taken == 0 && moved.ended_late == 0 {
            return;
        }
    }
}

/// The whole log of an app.
async fn log_of(pool: &SessionPool, app: AppId) -> Vec<LogEntry> {
    let mut conn = pool.acquire().await.unwrap();
    let start = LogPosition { position: 0, day: events::first_day(&mut conn).await.unwrap() };
    events::page(&mut conn, app, start, 100_000).await.unwrap()
}
