//! Loading the devices of jobs, right before they are sent. Every device of a job gets a ticket back here: ready to be
//! sent, or ended because of what has become of it since it was addressed (docs/queue.md#token-load).

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::time::Instant;

use crate::dispatch::credentials::InUse;
use crate::dispatch::prefetch::queue::ReadyDevice;
use crate::dispatch::prefetch::revalidate;
use crate::dispatch::{LaneContext, LaneSetup, panics, rejected};
use crate::domain::{
    Content, DeliveryStatus, DeviceId, Job, LaneKey, NotificationId, Platform, PushpostReason, Reason, UserId,
};
use crate::provider::{self, Prepared};
use crate::queue::lane_intake::{HandoffPayload, LeasedJob};
use crate::queue::recorder::{DeviceTicket, Disposition};
use crate::store;
use crate::store::tokens::{LoadedDevice, LoadedDevices};

/// Prepared notifications that are kept: a broadcast's jobs come one after the other.
const RENDERED_MAX: usize = 512;

/// What of a notification all its devices in this lane share.
#[derive(Debug)]
pub(in crate::dispatch) struct RenderedNotification {
    id: NotificationId,
    content: Arc<Content>,
    /// As the sender of this number renders it.
    rendered: Mutex<Option<(u64, Prepared)>>,
    /// Now or never.
    pub(in crate::dispatch) once: bool,
    /// Users must be checked.
    by_user: bool,
    /// Whether the lane's platform is sent anything at all.
    has_something: OnceLock<bool>,
}

impl RenderedNotification {
    fn new(id: NotificationId, known: &HandoffPayload) -> Self {
        let (content, once, by_user) = (Arc::clone(&known.content), known.once, known.by_user);
        Self { id, content, rendered: Mutex::default(), once, by_user, has_something: OnceLock::new() }
    }

    /// Is there anything to send to the devices of this plan's lane?
    fn has_something_for(&self, platform: Platform) -> bool {
        *self.has_something.get_or_init(|| provider::has_something_to_send(platform, &self.content))
    }

    /// Must users be checked?
    pub(in crate::dispatch) fn by_user(&self) -> bool {
        self.by_user
    }

    /// As this sender sends it: another one has another topic or channel. Rendered once, unless two senders take turns.
    pub(in crate::dispatch) fn prepared(&self, sender: &InUse) -> Prepared {
        let mut rendered = self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        match &*rendered {
            Some((number, prepared)) if *number == sender.number() => prepared.clone(),
            _ => {
                let prepared = sender.sender().prepare(self.id, &self.content);
                rendered.insert((sender.number(), prepared)).1.clone()
            }
        }
    }
}

/// One lane's loader, with the notifications that it has prepared.
#[derive(Debug, Default)]
pub(in crate::dispatch) struct JobLoader {
    plans: HashMap<NotificationId, Arc<RenderedNotification>>,
}

/// A job with one ticket per device that is still in it.
pub(in crate::dispatch) struct OpenedJob {
    pub(in crate::dispatch) held: Arc<LeasedJob>,
    pub(in crate::dispatch) tickets: Vec<DeviceTicket>,
    pub(in crate::dispatch) handed: bool,
    /// Its devices as they were found when it was accepted, if that is as good as loading them. Whoever was addressed
    /// through a user had that user then.
    loaded: Option<Arc<LoadedDevices>>,
}

impl OpenedJob {
    pub(in crate::dispatch) fn new(held: Arc<LeasedJob>, tickets: Vec<DeviceTicket>, handed: bool) -> Self {
        let loaded = held.known.as_ref().and_then(|known| known.loaded.clone());
        let loaded = loaded.filter(|loaded| loaded.at.elapsed() < revalidate::STALENESS_MAX);
        Self { held, tickets, handed, loaded }
    }
}

/// What was read for a load.
struct Read {
    loaded: LoadedDevices,
    users: HashMap<(NotificationId, DeviceId), UserId>,
    cancelled: HashSet<NotificationId>,
}

impl JobLoader {
    /// Loads the devices of jobs in at most three statements for all of them. What is ready is returned; the others'
    /// tickets are ended. On an error every ticket is dropped, so that the jobs go back as they were.
    pub(in crate::dispatch) async fn load(
        &mut self,
        shared: &LaneContext,
        setup: &LaneSetup,
        opened: Vec<OpenedJob>,
    ) -> Result<Vec<ReadyDevice>, store::Error> {
        let name = setup.name();
        let read = self.read(shared, &opened).await?;
        let mut ready = Vec::with_capacity(opened.iter().map(|job| job.tickets.len()).sum());
        for job in opened {
            let notification = job.held.job.notification;
            let plan = self.plans.get(&notification);
            let found = job.loaded.as_deref().unwrap_or(&read.loaded);
            for ticket in job.tickets {
                let device = found.get(ticket.device());
                let ending = match plan {
                    _ if read.cancelled.contains(&notification) => {
                        Some(cancelled(&job.held.job, PushpostReason::Requested))
                    }
                    None => Some(rejected(PushpostReason::Internal, false)),
                    Some(plan) => {
                        let addressed = read.users.get(&(notification, ticket.device()));
                        let judge = || end_at_load(setup, &job.held.job, plan, addressed, device);
                        let judged = panics::caught(judge, &name, notification);
                        judged.unwrap_or_else(|| Some(rejected(PushpostReason::Internal, false)))
                    }
                };
                match (ending, device, plan) {
                    (None, Some(device), Some(plan)) => {
                        let (token, plan) = (device.token.clone(), Arc::clone(plan));
                        ready.push(ReadyDevice { ticket, token, plan, handed: job.handed, loaded: found.at });
                    }
                    (ending, _, _) => {
                        ticket.end(
                            ending.unwrap_or_else(|| rejected(PushpostReason::Internal, false)),
                            read.loaded.at,
                            None,
                        );
                        if job.handed
                            && let Some(intake) = shared.intakes.get(setup.id())
                        {
                            intake.free(1);
                        }
                    }
                }
            }
        }
        Ok(ready)
    }

    async fn read(&mut self, shared: &LaneContext, opened: &[OpenedJob]) -> Result<Read, store::Error> {
        if self.plans.len() > RENDERED_MAX {
            self.plans.clear();
        }
        let mut unknown: Vec<NotificationId> = Vec::new();
        for job in opened {
            let id = job.held.job.notification;
            match &job.held.known {
                Some(known) if !self.plans.contains_key(&id) => {
                    self.plans.insert(id, Arc::new(RenderedNotification::new(id, known)));
                }
                None if !self.plans.contains_key(&id) => unknown.push(id),
                _ => {}
            }
        }
        unknown.sort_unstable();
        unknown.dedup();
        let at = Instant::now();
        let to_load: Vec<&OpenedJob> = opened.iter().filter(|job| job.loaded.is_none()).collect();
        if to_load.is_empty() && unknown.is_empty() {
            return Ok(Read::nothing(at));
        }
        let mut devices: Vec<DeviceId> =
            to_load.iter().flat_map(|job| job.tickets.iter().map(DeviceTicket::device)).collect();
        devices.sort_unstable();
        devices.dedup();

        let mut conn = shared.pool.acquire().await.map_err(store::Error::from)?;
        let mut cancelled = HashSet::new();
        if !unknown.is_empty() {
            for row in store::notifications::to_send(&mut conn, &unknown).await? {
                if row.cancelled {
                    cancelled.insert(row.id);
                } else if let Some(content) = row.content {
                    let known = HandoffPayload {
                        content: Arc::new(content),
                        once: row.once,
                        by_user: row.by_user,
                        loaded: None,
                    };
                    self.plans.insert(row.id, Arc::new(RenderedNotification::new(row.id, &known)));
                } else {
                    tracing::error!(notification = %row.id, "its content can't be read: its targets are rejected");
                }
            }
        }
        let mut users = HashMap::new();
        let by_user: Vec<NotificationId> = to_load
            .iter()
            .map(|job| job.held.job.notification)
            .filter(|id| self.plans.get(id).is_some_and(|plan| plan.by_user))
            .collect();
        if !by_user.is_empty() {
            for (id, device, user) in store::notifications::users_of(&mut conn, &by_user, &devices).await? {
                users.insert((id, device), UserId::stored(user));
            }
        }
        let devices = store::tokens::load(&mut conn, &devices).await?;
        Ok(Read { loaded: LoadedDevices { at, devices }, users, cancelled })
    }
}

impl Read {
    fn nothing(at: Instant) -> Self {
        let loaded = LoadedDevices { at, devices: Vec::new() };
        Self { loaded, users: HashMap::new(), cancelled: HashSet::new() }
    }
}

/// What has become of a device since it was addressed; none: it can be sent.
pub(in crate::dispatch) fn end_at_load(
    setup: &LaneSetup,
    job: &Job,
    plan: &RenderedNotification,
    addressed: Option<&UserId>,
    device: Option<&LoadedDevice>,
) -> Option<Disposition> {
    let Some(device) = device else { return Some(cancelled(job, PushpostReason::DeviceGone)) };
    if plan.by_user && addressed.is_some() && addressed != device.user.as_ref() {
        return Some(cancelled(job, PushpostReason::UserChanged));
    }
    if device.quarantined {
        return Some(unsent(DeliveryStatus::TokenDead, PushpostReason::Quarantined));
    }
    if !plan.has_something_for(setup.key.platform()) {
        return Some(rejected(PushpostReason::NothingToSend, false));
    }
    let key = LaneKey::of(device.platform, device.environment);
    // A trial is made in the lane that isn't the device's; if that has become its own, it is an attempt like any other.
    if (key == setup.key) != job.environment_probe_since.is_some() {
        return None;
    }
    let lane = setup.app.lane(key);
    if !lane.configured {
        return Some(rejected(PushpostReason::PlatformNotConfigured, false));
    }
    Some(Disposition::Retry {
        lane: Some(lane.id),
        delay: std::time::Duration::ZERO,
        attempted: false,
        unanswered: false,
        reason: None,
    })
}

fn unsent(status: DeliveryStatus, reason: PushpostReason) -> Disposition {
    Disposition::Final { status, attempted: false, reason: Some(reason.into()), provider_id: None }
}

/// `cancelled` says that no provider took it; where an attempt is in doubt it is `unknown`
/// (docs/queue.md#attempts-in-doubt).
fn cancelled(job: &Job, reason: PushpostReason) -> Disposition {
    if job.doubts() == 0 {
        return unsent(DeliveryStatus::Cancelled, reason);
    }
    let reason = Some(Reason::from(PushpostReason::NoAnswer));
    Disposition::Final { status: DeliveryStatus::Unknown, attempted: job.in_doubt, reason, provider_id: None }
}
