//! The idempotency keys of the day before, in memory: Postgres looks up only those keys of a batch that may be among them
//! (docs/queue.md#idempotency-keys).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastbloom::BloomFilter;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::domain::IdempotencyKey;
use crate::store;
use crate::store::SessionPool;
use crate::store::accept::{KeyColumns, KnownDay};
use crate::store::idempotency::{former_day, keys_in_pages};

/// Share of the keys that are looked up although they are free.
const FALSE_POSITIVES: f64 = 0.001;
/// Most keys of a day that are read and held: 185 a second for a day. They take 29 MB. With more of them each key is looked up.
const KEYS_MAX: i64 = 16_000_000;
/// The keys in a page of 8 KiB.
const KEYS_PER_PAGE: i64 = 81;
/// Pages of the table that are read at once.
const PAGES_AT_ONCE: i64 = 100;
/// Pause between two reads. A first read may write each page (hint bits), so it is kept to 16 MB a second.
const PAUSE: Duration = Duration::from_millis(50);
/// Between two questions whether another day has ended, or another server answers.
const REFRESH: Duration = Duration::from_mins(10);
/// Until the next attempt if the day can't be read, or is not complete.
const RETRY: Duration = Duration::from_secs(30);

/// What this node knows of the keys of the day before. Without this knowledge each key is looked up.
#[derive(Debug, Default)]
pub struct FormerKeys {
    known: Mutex<Option<Arc<DayKeys>>>,
}

#[derive(Debug)]
struct DayKeys {
    known: KnownDay,
    /// None: there are too many of them.
    filter: Option<BloomFilter>,
}

impl FormerKeys {
    /// Reads the keys of each day that has ended, until told to stop.
    pub async fn run(self: Arc<Self>, pool: SessionPool, stop: CancellationToken) {
        let mut has_failed = false;
        loop {
            let refreshed = tokio::select! {
                refreshed = self.refresh(&pool) => refreshed,
                () = stop.cancelled() => return,
            };
            let pause = match &refreshed {
                Ok(true) => REFRESH,
                Ok(false) => RETRY,
                Err(error) => {
                    report(error, has_failed);
                    RETRY
                }
            };
            has_failed = refreshed.is_err();
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Reads the keys of the day before, unless they are known, or transactions may still add some. False: they are not known yet.
    ///
    /// # Errors
    /// Postgres is out of reach.
    pub async fn refresh(&self, pool: &SessionPool) -> Result<bool, store::Error> {
        let read_at = Instant::now();
        let former = former_day(&mut pool.acquire().await?).await?;
        let known = KnownDay { day: former.day, server_started_at: former.server_started_at, read_at };
        if self.day_keys().is_some_and(|keys| keys.known.is_same_as(&known)) {
            return Ok(true);
        }
        let (true, Some(pages)) = (former.is_complete, former.pages) else { return Ok(false) };
        // Two days are not held at once.
        self.keep(None);
        let filter = read(pool, known, pages).await?;
        self.keep(Some(Arc::new(DayKeys { known, filter })));
        Ok(true)
    }

    /// Names those of `keys` that Postgres must look up.
    pub(super) fn limit_look_up(&self, keys: &mut KeyColumns) {
        if let Some(day) = self.day_keys()
            && let Some(filter) = &day.filter
        {
            keys.limit_look_up(day.known, |key| filter.contains(&key.0));
        }
    }

    /// False: the key was not stored on the day before. None: which keys were stored is not known. For tests.
    pub fn may_have(&self, key: IdempotencyKey) -> Option<bool> {
        Some(self.day_keys()?.filter.as_ref()?.contains(&key.0))
    }

    fn day_keys(&self) -> Option<Arc<DayKeys>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, keys: Option<Arc<DayKeys>>) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = keys;
    }
}

/// An outage of Postgres is logged elsewhere.
fn report(error: &store::Error, has_failed: bool) {
    if has_failed || error.is_unavailable() {
        tracing::debug!(%error, "cannot read the idempotency keys of the day before");
    } else {
        tracing::warn!(
            %error,
            detail = "each new key is looked up in Postgres meanwhile",
            "cannot read the idempotency keys of the day before"
        );
    }
}

/// None: there are too many.
async fn read(pool: &SessionPool, known: KnownDay, pages: i64) -> Result<Option<BloomFilter>, store::Error> {
    let keys_estimate = pages.saturating_mul(KEYS_PER_PAGE);
    if keys_estimate > KEYS_MAX {
        tracing::info!(
            day = %known.day,
            keys_estimate,
            detail = "each new key is looked up in Postgres",
            "the day before has too many idempotency keys for memory"
        );
        return Ok(None);
    }
    let expected = usize::try_from(keys_estimate).unwrap_or_default().max(1);
    let mut filter = BloomFilter::with_false_pos(FALSE_POSITIVES).expected_items(expected);
    let mut from = 0;
    while from < pages {
        for key in keys_in_pages(&mut pool.acquire().await?, known.day, from..from + PAGES_AT_ONCE).await? {
            filter.insert(&key.0);
        }
        from += PAGES_AT_ONCE;
        sleep(PAUSE).await;
    }
    tracing::debug!(day = %known.day, pages, "idempotency keys of the day before read");
    Ok(Some(filter))
}
