//! What became of each device of a notification, page by page.

use std::sync::Arc;

use futures_util::Stream;
use futures_util::stream;
use tokio::sync::Semaphore;

use crate::domain::{AppId, DeliveryStatus, InstallationKey, LaneKey, NotificationId};
use crate::store;
use crate::store::SessionPool;
use crate::store::deliveries::{Deliveries, Delivery, DeliveryFilter, DeliveryPosition};

/// Deliveries that a stream reads at a time.
const STREAM_PAGE: usize = 1000;
/// Pages of all streams of this node that are read at the same time. A node has seven connections for requests by default,
/// and at least two: however many streams are read, other requests find one soon.
const STREAM_PAGES_MAX: usize = 2;

/// Permits to read pages of streams. Cheap to clone; clones share the permits.
#[derive(Clone, Debug)]
pub struct StreamPermits(Arc<Semaphore>);

impl Default for StreamPermits {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(STREAM_PAGES_MAX)))
    }
}

/// Is this a notification of the app? Deliveries of another app's notification must not be shown.
///
/// # Errors
/// The database can't be read.
pub async fn is_of_app(pool: &SessionPool, app: AppId, id: NotificationId) -> Result<bool, store::Error> {
    store::deliveries::exists(pool, app, id).await
}

/// Reads at most `limit` deliveries, beginning at `from`, and the attempts at their devices if `has_attempts`. The caller has
/// asked [`is_of_app`].
///
/// # Errors
/// The database can't be read.
pub async fn page(
    pool: &SessionPool,
    app: AppId,
    id: NotificationId,
    filter: &DeliveryFilter,
    from: DeliveryPosition,
    limit: usize,
    has_attempts: bool,
) -> Result<Deliveries, store::Error> {
    store::deliveries::page(pool, app, id, filter, from, limit, has_attempts).await
}

/// Reads all deliveries, page by page as fast as the pages are taken. Each page waits for a permit; neither that nor a
/// connection is held in between. The caller has asked [`is_of_app`].
pub fn pages(
    pool: SessionPool,
    permits: StreamPermits,
    app: AppId,
    id: NotificationId,
    filter: DeliveryFilter,
    from: DeliveryPosition,
    has_attempts: bool,
) -> impl Stream<Item = Result<Deliveries, store::Error>> + Send {
    stream::try_unfold(Some(from), move |from| {
        let next = from.map(|from| (pool.clone(), permits.clone(), filter.clone(), from));
        async move {
            let Some((pool, permits, filter, from)) = next else { return Ok(None) };
            let _permit = permits.0.acquire().await.expect("the semaphore is never closed");
            let found = page(&pool, app, id, &filter, from, STREAM_PAGE, has_attempts).await.inspect_err(
                |error| {
                    tracing::error!(%error, notification = %id, "a stream of deliveries was cut off");
                },
            )?;
            let next = found.next;
            Ok(Some((found, next)))
        }
    })
}

/// The provider's id of the message that was sent. A provider that names no messages keeps the id that Pushpost
/// chose, which is derived from notification and device, and not stored.
pub fn provider_id(
    key: &InstallationKey,
    id: NotificationId,
    delivery: &Delivery,
    lane: Option<LaneKey>,
) -> Option<String> {
    let keeps_our_id = lane.is_some_and(|lane| !lane.platform().facts().names_messages);
    let is_sent = delivery.status == DeliveryStatus::Accepted && !delivery.is_erased;
    if delivery.provider_id.is_some() || !keeps_our_id || !is_sent {
        return delivery.provider_id.clone();
    }
    Some(key.message_id(id, delivery.device).hyphenated().to_string())
}
