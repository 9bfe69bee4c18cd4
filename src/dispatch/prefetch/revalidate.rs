//! Reloads devices that have waited in the queue. The queue of a slow lane can be minutes long, and what was true when
//! a device was loaded need not be true when it is sent (docs/queue.md#token-load). Devices that have no time left
//! end here, so that they wait neither for the devices before them nor for a quota.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::judge::{DeviceJudge, cancelled};
use super::queue::ReadyQueue;
use crate::dispatch::disposition::Conclusion;
use crate::dispatch::environment_probe::EnvironmentProbes;
use crate::dispatch::expiry::conclude_expired;
use crate::dispatch::ready_device::ReadyDevice;
use crate::domain::{DeviceId, NotificationId, PushpostReason};
use crate::queue::node_lease::NodeLease;
use crate::queue::recorder::Disposition;
use crate::store;
use crate::store::SessionPool;
use crate::store::notifications::AddressedUser;
use crate::store::tokens::LoadedDevice;

/// A prefetched device is revalidated after this long.
pub(super) const STALENESS_MAX: Duration = Duration::from_secs(1);
/// Most devices in one statement.
const DEVICES_MAX: usize = 2_000;

/// Revalidates the queue of one lane.
#[derive(Debug)]
pub(super) struct Revalidator {
    pub(super) pool: SessionPool,
    pub(super) queue: Arc<ReadyQueue>,
    pub(super) node_lease: Arc<NodeLease>,
    pub(super) judge: Arc<DeviceJudge>,
    pub(super) environments: Arc<EnvironmentProbes>,
}

/// All devices of the queue, as the database has them now.
struct Snapshot {
    devices: HashMap<DeviceId, LoadedDevice>,
    users: HashMap<(NotificationId, DeviceId), AddressedUser>,
    cancelled: HashSet<NotificationId>,
    /// Before the database was read.
    at: Instant,
}

impl Revalidator {
    /// When a device of the queue has waited too long; none: the queue is empty.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.queue.oldest().map(|at| at + STALENESS_MAX)
    }

    /// Reads all devices of the queue anew, if it is due. A device that is not to be sent any more leaves the queue with
    /// its outcome; the others keep their places.
    ///
    /// # Errors
    /// The database could not be read; nothing has changed.
    pub(super) async fn revalidate(&self) -> Result<(), store::Error> {
        if self.due_at().is_none_or(|at| at > Instant::now()) {
            return Ok(());
        }
        let snapshot = self.read().await?;
        let now = Instant::now();
        let ended = self.queue.remove_ended(|ready| {
            self.expire(ready, now).or_else(|| Some((self.judge(&snapshot, ready)?, None)))
        });
        for (ready, (disposition, finding)) in ended {
            ready.ticket.end(disposition, snapshot.at, finding);
        }
        Ok(())
    }

    async fn read(&self) -> Result<Snapshot, store::Error> {
        let at = Instant::now();
        let (mut ids, mut notifications, mut by_user) = (Vec::new(), Vec::new(), Vec::new());
        self.queue.for_each(|ready| {
            let (notification, device) = ready.target();
            ids.push(device);
            notifications.push(notification);
            by_user.extend(ready.notification.is_by_user().then_some(notification));
        });
        ids.sort_unstable();
        ids.dedup();
        for ids in [&mut notifications, &mut by_user] {
            ids.sort_unstable();
            ids.dedup();
        }
        let mut conn = self.pool.acquire().await.map_err(store::Error::from)?;
        let cancelled =
            store::notifications::cancelled_among(&mut conn, self.judge.app.id, &notifications).await?;
        let (mut devices, mut users) = (HashMap::new(), HashMap::new());
        for part in ids.chunks(DEVICES_MAX) {
            let loaded = store::tokens::load(&mut conn, part).await?;
            devices.extend(loaded.into_iter().map(|device| (device.device, device)));
            if !by_user.is_empty() {
                users.extend(
                    store::notifications::users_of(&mut conn, self.judge.app.id, &by_user, part).await?,
                );
            }
        }
        Ok(Snapshot { devices, users, cancelled: cancelled.into_iter().collect(), at })
    }

    /// How the device ends if its time to live is over; none: it has time left, or it may be another node's.
    fn expire(&self, ready: &ReadyDevice, now: Instant) -> Option<Conclusion> {
        let is_ours = self.node_lease.may_start_at(ready.ticket.leased_job().node, now);
        is_ours.then(|| conclude_expired(ready, &self.environments, self.node_lease.clock().at(now)))?
    }

    /// How the device ends; none: it stays. A device that came to the queue after the reading was loaded after it.
    fn judge(&self, snapshot: &Snapshot, ready: &mut ReadyDevice) -> Option<Disposition> {
        if ready.loaded_at >= snapshot.at {
            return None;
        }
        let (job, target) = (&ready.ticket.leased_job().job, ready.target());
        if snapshot.cancelled.contains(&target.0) {
            return Some(cancelled(job, PushpostReason::Requested));
        }
        let device = snapshot.devices.get(&target.1);
        let disposition = self.judge.judge(job, &ready.notification, snapshot.users.get(&target), device);
        if let (None, Some(device)) = (&disposition, device) {
            ready.token = device.token.clone();
            ready.loaded_at = snapshot.at;
        }
        disposition
    }
}
