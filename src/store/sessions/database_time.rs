//! How long a task has waited for Postgres, for the log: for connections, for statements, and for the commits of others that it
//! shares. A task that did not begin with [`DatabaseTime::of`] measures nothing.

use std::cell::Cell;
use std::future::Future;
use std::time::Duration;

tokio::task_local! {
    static WAITED: Cell<Duration>;
}

/// The time that the present task has waited for Postgres.
#[derive(Clone, Copy, Debug)]
pub enum DatabaseTime {}

impl DatabaseTime {
    /// Runs `work`, and returns how long it has waited for Postgres.
    pub async fn of<T>(work: impl Future<Output = T>) -> (T, Duration) {
        let work = async {
            let done = work.await;
            (done, WAITED.with(Cell::get))
        };
        WAITED.scope(Cell::new(Duration::ZERO), work).await
    }

    /// Adds a time for which the present task has waited.
    pub fn add(waited: Duration) {
        // A task that is not measured.
        let _unmeasured = WAITED.try_with(|sum| sum.set(sum.get() + waited));
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[tokio::test]
    async fn the_time_of_a_task_is_that_of_its_own_waits() {
        DatabaseTime::add(millis(1));
        let work = async {
            DatabaseTime::add(millis(2));
            let mut others = JoinSet::new();
            others.spawn(async { DatabaseTime::add(millis(4)) });
            others.join_all().await;
            tokio::task::yield_now().await;
            DatabaseTime::add(millis(8));
            "done"
        };
        assert_eq!(DatabaseTime::of(work).await, ("done", millis(10)));
    }
}
