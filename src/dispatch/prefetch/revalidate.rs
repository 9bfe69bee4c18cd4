//! Looking again at devices that have waited in the read-ahead: of a lane that sends slowly it is minutes long, and what
//! was true when they were loaded need not be when they are sent (docs/queue.md#token-load).

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::dispatch::lane::Lane;
use crate::dispatch::prefetch::load::end_at_load;
use crate::dispatch::prefetch::queue::ReadyDevice;
use crate::dispatch::{panics, rejected};
use crate::domain::{DeviceId, NotificationId, PushpostReason, UserId};
use crate::queue::recorder::Disposition;
use crate::store;
use crate::store::tokens::LoadedDevice;

/// Nobody waits longer before he is looked at again.
pub(in crate::dispatch) const STALENESS_MAX: Duration = Duration::from_secs(1);
/// Most devices in one statement.
const AT_ONCE: usize = 2_000;

/// Everybody in the queue, as the tables say now.
struct Seen {
    devices: HashMap<DeviceId, LoadedDevice>,
    users: HashMap<(NotificationId, DeviceId), UserId>,
    /// Before the tables were read.
    at: Instant,
}

/// Reads all that waits anew, if some of it has waited for long. Who is not to be sent any more leaves the queue with his
/// outcome; the others keep their places.
///
/// # Errors
/// The tables could not be read; nothing has changed.
pub(in crate::dispatch) async fn revalidate(lane: &Lane) -> Result<(), store::Error> {
    if lane.ready.oldest().is_none_or(|at| at.elapsed() < STALENESS_MAX) {
        return Ok(());
    }
    let seen = Seen::read(lane).await?;
    for (ready, ending) in lane.ready.sift(|ready| seen.judge(lane, ready)) {
        ready.ticket.end(ending, seen.at, None);
    }
    Ok(())
}

impl Seen {
    async fn read(lane: &Lane) -> Result<Self, store::Error> {
        let at = Instant::now();
        let (mut ids, mut by_user) = (Vec::new(), Vec::new());
        lane.ready.each(|ready| {
            let (notification, device) = ready.who();
            ids.push(device);
            by_user.extend(ready.plan.by_user().then_some(notification));
        });
        ids.sort_unstable();
        ids.dedup();
        by_user.sort_unstable();
        by_user.dedup();
        let mut conn = lane.shared.pool.acquire().await.map_err(store::Error::from)?;
        let (mut devices, mut users) = (HashMap::new(), HashMap::new());
        for part in ids.chunks(AT_ONCE) {
            let loaded = store::tokens::load(&mut conn, part).await?;
            devices.extend(loaded.into_iter().map(|device| (device.device, device)));
            if !by_user.is_empty() {
                let found = store::notifications::users_of(&mut conn, &by_user, part).await?;
                users
                    .extend(found.into_iter().map(|(id, device, user)| ((id, device), UserId::stored(user))));
            }
        }
        Ok(Self { devices, users, at })
    }

    /// How it ends, if it does. Who came to the queue meanwhile was loaded meanwhile.
    fn judge(&self, lane: &Lane, ready: &mut ReadyDevice) -> Option<Disposition> {
        if ready.loaded >= self.at {
            return None;
        }
        let (job, who) = (&ready.ticket.leased_job().job, ready.who());
        let device = self.devices.get(&who.1);
        let judge = || end_at_load(&lane.setup, job, &ready.plan, self.users.get(&who), device);
        let judged = panics::caught(judge, &lane.name, who.0);
        let ending = judged.unwrap_or_else(|| Some(rejected(PushpostReason::Internal, false)));
        if let (None, Some(device)) = (&ending, device) {
            ready.token = device.token.clone();
            ready.loaded = self.at;
        }
        ending
    }
}
