//! Duty: drops the partitions of a day when its retention has passed.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use chrono::NaiveDate;
use tokio::time::Instant;
use uuid::Uuid;

use crate::store;
use crate::store::Session;

const SECONDS_PER_DAY: u64 = 86_400;
/// Receipts that one step reads; that takes a few milliseconds.
const PAGE_RECEIPTS: i64 = 2_000;

/// Days that are candidates. A day is dropped when its last notification ended that long ago. Its receipts show
/// that, and are read page by page.
#[derive(Debug, Default)]
pub(super) struct OldPartitions {
    queue: VecDeque<NaiveDate>,
    /// The last receipt that was read of the first day in `queue`.
    after: Option<(Uuid, i64)>,
    /// Days with receipts that must be kept, and until when.
    kept: HashMap<NaiveDate, Instant>,
}

impl OldPartitions {
    /// Reads one page of receipts, or drops a day after its last page. True: there is more to do.
    pub(super) async fn step(
        &mut self,
        conn: &mut Session,
        retention: Duration,
    ) -> Result<bool, store::Error> {
        let days = i32::try_from(retention.as_secs().div_ceil(SECONDS_PER_DAY)).unwrap_or(i32::MAX);
        let now = Instant::now();
        let Some(day) = self.queue.front().copied() else {
            self.kept.retain(|_, until| *until > now);
            let found = store::partitions::droppable_days(conn, days).await?;
            self.queue.extend(found.into_iter().filter(|day| !self.kept.contains_key(day)));
            return Ok(!self.queue.is_empty());
        };
        let after = self.after.unwrap_or_default();
        let page = store::partitions::day_page(conn, day, after, days, PAGE_RECEIPTS).await?;
        self.after = page.next.filter(|_| page.kept_secs.is_none());
        if self.after.is_some() {
            return Ok(true);
        }
        self.queue.pop_front();
        match page.kept_secs {
            Some(secs) => {
                self.kept.insert(day, now + Duration::from_secs_f64(secs));
            }
            None => drop_day(conn, day).await?,
        }
        Ok(!self.queue.is_empty())
    }
}

/// Drops a day. If another session holds its tables, the next pass tries again.
async fn drop_day(conn: &mut Session, day: NaiveDate) -> Result<(), store::Error> {
    match store::partitions::drop_day(conn, day).await {
        Ok(()) => tracing::info!(%day, "partitions dropped: their retention has passed"),
        Err(error) if error.is_lock_timeout() => {
            tracing::warn!(%day, "partitions not dropped yet: another session holds them");
        }
        Err(error) => return Err(error),
    }
    Ok(())
}
