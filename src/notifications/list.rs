//! A page of the notifications of an app, newest first, each as it stands.

use tokio::time::{Duration, Instant};

use super::status::{self, NotificationState};
use crate::domain::{AppId, NotificationId};
use crate::store;
use crate::store::SessionPool;
use crate::store::notification_list::{self, NotificationFilter};

/// Notifications that one request looks at, whether the filter lets them pass or not.
const SEEN_MAX: usize = 5_000;
/// Notifications of one statement, where the filter may leave out many of them.
const CHUNK: usize = 1_000;
/// A page ends after this time, however few notifications it has. The status of a broadcast with thousands of receipts
/// takes some milliseconds.
const TIME_MAX: Duration = Duration::from_secs(1);

/// Part of a list.
#[derive(Debug)]
pub struct NotificationPage {
    /// The notifications, newest first.
    pub items: Vec<(NotificationId, NotificationState)>,
    /// The last notification that was looked at, behind which the next page begins. None: there are no more.
    pub next: Option<NotificationId>,
}

/// Reads at most `limit` notifications that are older than `before`. The page is shorter if the filter leaves out many.
///
/// # Errors
/// See [`status::Error`].
pub async fn list(
    pool: &SessionPool,
    app: AppId,
    filter: &NotificationFilter,
    before: Option<NotificationId>,
    limit: usize,
) -> Result<NotificationPage, status::Error> {
    let begun = Instant::now();
    let mut conn = pool.acquire().await.map_err(store::Error::from)?;
    let (mut items, mut next, mut seen) = (Vec::new(), before, 0);
    loop {
        // One more than fits tells whether there is a next page.
        let wanted = if filter.statuses.is_empty() { limit + 1 - items.len() } else { CHUNK };
        let most = i64::try_from(wanted).unwrap_or(i64::MAX);
        let candidates = notification_list::candidates(&mut conn, app, filter, next, most).await?;
        for candidate in &candidates {
            if items.len() == limit {
                return Ok(NotificationPage { items, next });
            }
            if candidate.may_match
                && let Some(stored) = store::status::read(&mut conn, app, candidate.id).await?
                && filter.admits(stored.status)
            {
                items.push((candidate.id, NotificationState::read(stored)?));
            }
            next = Some(candidate.id);
            if begun.elapsed() >= TIME_MAX {
                return Ok(NotificationPage { items, next });
            }
        }
        if candidates.len() < wanted {
            return Ok(NotificationPage { items, next: None });
        }
        seen += candidates.len();
        if seen >= SEEN_MAX {
            return Ok(NotificationPage { items, next });
        }
    }
}
