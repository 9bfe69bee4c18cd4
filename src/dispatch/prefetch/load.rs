//! Loads the devices of jobs shortly before they are sent. Every device of a job becomes ready to be sent, or ends because
//! of what has become of it since it was addressed (docs/queue.md#token-load).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::judge::{DeviceJudge, cancelled};
use super::revalidate::STALENESS_MAX;
use crate::dispatch::disposition::rejected;
use crate::dispatch::ready_device::ReadyDevice;
use crate::dispatch::rendered::RenderedNotification;
use crate::domain::{DeviceId, NotificationId, PushpostReason};
use crate::queue::lane_intake::{HandoffPayload, LaneIntake, LeasedJob};
use crate::queue::recorder::{DeviceTicket, Disposition};
use crate::store;
use crate::store::SessionPool;
use crate::store::notifications::{AddressedUser, ToSend};
use crate::store::tokens::{LoadedDevice, LoadedDevices};

/// Notifications that are kept rendered: the jobs of a broadcast come one after the other.
const RENDERED_MAX: usize = 512;

/// Loads the jobs of one lane.
#[derive(Debug)]
pub(in crate::dispatch) struct JobLoader {
    pool: SessionPool,
    intake: Arc<LaneIntake>,
    judge: Arc<DeviceJudge>,
    notifications: HashMap<NotificationId, Arc<RenderedNotification>>,
}

/// A job with one ticket per device that is still in it.
pub(super) struct OpenedJob {
    leased: Arc<LeasedJob>,
    pub(super) tickets: Vec<DeviceTicket>,
    /// The job was handed over without a claim.
    handed: bool,
    /// Devices loaded at acceptance, less than [`STALENESS_MAX`] ago, so they are not loaded again. A device that was
    /// addressed through a user had that user then.
    found: Option<Arc<LoadedDevices>>,
}

impl OpenedJob {
    pub(super) fn new(leased: Arc<LeasedJob>, tickets: Vec<DeviceTicket>, handed: bool) -> Self {
        let found = leased.payload.as_ref().and_then(|payload| payload.loaded.clone());
        let found = found.filter(|found| found.at.elapsed() < STALENESS_MAX);
        Self { leased, tickets, handed, found }
    }
}

/// What the database said.
struct Loaded {
    devices: LoadedDevices,
    /// The users that devices were addressed through.
    users: HashMap<(NotificationId, DeviceId), AddressedUser>,
    cancelled: HashSet<NotificationId>,
}

impl JobLoader {
    pub(in crate::dispatch) fn new(
        pool: SessionPool,
        intake: Arc<LaneIntake>,
        judge: Arc<DeviceJudge>,
    ) -> Self {
        Self { pool, intake, judge, notifications: HashMap::new() }
    }

    /// Loads the devices of jobs in at most three statements for all of them. Returns the devices that can be sent; the
    /// others end here, also all devices of a cancelled notification.
    ///
    /// # Errors
    /// The database could not be read. Every ticket is dropped, so that the jobs are given back as they were.
    pub(super) async fn load(&mut self, jobs: Vec<OpenedJob>) -> Result<Vec<ReadyDevice>, store::Error> {
        let loaded = self.read(&jobs).await?;
        let mut ready = Vec::with_capacity(jobs.iter().map(|job| job.tickets.len()).sum());
        for OpenedJob { leased, tickets, handed, found } in jobs {
            let id = leased.job.notification;
            let notification = self.notifications.get(&id);
            let devices = found.as_deref().unwrap_or(&loaded.devices);
            for ticket in tickets {
                let device = devices.get(ticket.device());
                let addressed = loaded.users.get(&(id, ticket.device()));
                let is_cancelled = loaded.cancelled.contains(&id);
                match self.disposition(&leased, is_cancelled, notification, addressed, device) {
                    Ok((notification, device)) => ready.push(ReadyDevice {
                        ticket,
                        token: device.token.clone(),
                        notification: Arc::clone(notification),
                        handed,
                        loaded_at: devices.at,
                    }),
                    Err(disposition) => {
                        ticket.end(disposition, loaded.devices.at, None);
                        self.intake.free(usize::from(handed));
                    }
                }
            }
        }
        Ok(ready)
    }

    /// What to send to which device, or how the device ends.
    fn disposition<'a>(
        &self,
        leased: &LeasedJob,
        is_cancelled: bool,
        notification: Option<&'a Arc<RenderedNotification>>,
        addressed: Option<&AddressedUser>,
        device: Option<&'a LoadedDevice>,
    ) -> Result<(&'a Arc<RenderedNotification>, &'a LoadedDevice), Disposition> {
        if is_cancelled {
            return Err(cancelled(&leased.job, PushpostReason::Requested));
        }
        let Some(notification) = notification else { return Err(rejected(PushpostReason::Internal, false)) };
        match (self.judge.judge(&leased.job, notification, addressed, device), device) {
            (None, Some(device)) => Ok((notification, device)),
            (disposition, _) => Err(disposition.unwrap_or_else(|| rejected(PushpostReason::Internal, false))),
        }
    }

    async fn read(&mut self, jobs: &[OpenedJob]) -> Result<Loaded, store::Error> {
        let (all, unknown) = self.keep_payloads(jobs);
        let at = Instant::now();
        let to_load: Vec<&OpenedJob> = jobs.iter().filter(|job| job.found.is_none()).collect();
        if to_load.is_empty() && unknown.is_empty() {
            return Ok(Loaded::nothing(at));
        }
        let mut devices: Vec<DeviceId> =
            to_load.iter().flat_map(|job| job.tickets.iter().map(DeviceTicket::device)).collect();
        devices.sort_unstable();
        devices.dedup();

        let mut conn = self.pool.acquire().await.map_err(store::Error::from)?;
        let mut cancelled = HashSet::new();
        for row in store::notifications::to_send(&mut conn, self.judge.app.id, &all, &unknown).await? {
            if row.by_user
                && let Some(known) = self.notifications.get(&row.id)
            {
                known.note_by_user();
            }
            if row.cancelled {
                cancelled.insert(row.id);
            } else if unknown.binary_search(&row.id).is_ok() {
                self.keep(row);
            }
        }
        let mut users = HashMap::new();
        let by_user: Vec<NotificationId> = to_load
            .iter()
            .map(|job| job.leased.job.notification)
            .filter(|id| self.notifications.get(id).is_some_and(|notification| notification.is_by_user()))
            .collect();
        if !by_user.is_empty() {
            users = store::notifications::users_of(&mut conn, self.judge.app.id, &by_user, &devices).await?;
        }
        let devices = store::tokens::load(&mut conn, &devices).await?;
        Ok(Loaded { devices: LoadedDevices { at, devices }, users, cancelled })
    }

    /// Keeps a notification that was read for the first time.
    fn keep(&mut self, read: ToSend) {
        let Some(content) = read.content else {
            tracing::error!(
                notification = %read.id,
                detail = "all its devices are rejected",
                "content of a notification cannot be read"
            );
            return;
        };
        let (content, once, by_user) = (Arc::new(content), read.once, read.by_user);
        let payload = HandoffPayload { content, once, by_user, loaded: None };
        self.notifications.insert(read.id, Arc::new(RenderedNotification::new(read.id, &payload)));
    }

    /// Keeps what handed-over jobs bring along. Returns all notifications of the jobs, and those of which the content has to
    /// be read; both ascending.
    fn keep_payloads(&mut self, jobs: &[OpenedJob]) -> (Vec<NotificationId>, Vec<NotificationId>) {
        if self.notifications.len() > RENDERED_MAX {
            self.notifications.clear();
        }
        let mut unknown = Vec::new();
        for job in jobs {
            let id = job.leased.job.notification;
            match &job.leased.payload {
                _ if self.notifications.contains_key(&id) => {}
                Some(payload) => {
                    self.notifications.insert(id, Arc::new(RenderedNotification::new(id, payload)));
                }
                None => unknown.push(id),
            }
        }
        let mut all: Vec<NotificationId> = jobs.iter().map(|job| job.leased.job.notification).collect();
        for ids in [&mut all, &mut unknown] {
            ids.sort_unstable();
            ids.dedup();
        }
        (all, unknown)
    }
}

impl Loaded {
    fn nothing(at: Instant) -> Self {
        let devices = LoadedDevices { at, devices: Vec::new() };
        Self { devices, users: HashMap::new(), cancelled: HashSet::new() }
    }
}
