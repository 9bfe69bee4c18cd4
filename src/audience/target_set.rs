//! Targets as they come together from the ways of addressing, each device once.

use std::collections::{BTreeMap, HashSet};

use tokio::time::Instant;

use super::{Audience, Resolved};
use crate::domain::{App, DeviceId, Kind, LaneKey, Platform, Reason, Target, UserId};
use crate::store::devices::Addressed;
use crate::store::tokens::{LoadedDevice, LoadedDevices};

/// Larger audiences are loaded again before they are sent: a statement for so many costs each of them little, and what is
/// accepted must not hold the tokens of millions.
const LOADED_MAX: usize = 100;

/// Targets as they come together.
pub(super) struct TargetSet<'a> {
    app: &'a App,
    audience: &'a Audience,
    kind: Kind,
    targets: BTreeMap<DeviceId, Target>,
    matched_users: HashSet<UserId>,
    except_users: HashSet<&'a UserId>,
    except_devices: HashSet<DeviceId>,
    /// Known from sends alone, and today's is not noted yet.
    stale: Vec<DeviceId>,
    /// Those of the targets, while they are few.
    loaded: BTreeMap<DeviceId, LoadedDevice>,
}

impl<'a> TargetSet<'a> {
    pub(super) fn new(app: &'a App, audience: &'a Audience, kind: Kind) -> Self {
        Self {
            app,
            audience,
            kind,
            targets: BTreeMap::new(),
            matched_users: HashSet::new(),
            except_users: audience.except_users.iter().collect(),
            except_devices: audience.except_devices.iter().copied().collect(),
            stale: Vec::new(),
            loaded: BTreeMap::new(),
        }
    }

    /// Addressed by id or token: a target whatever its state, so that its outcome says what is wrong with it.
    pub(super) fn add_explicit(&mut self, device: Addressed, reference: Option<String>) {
        if !self.is_wanted(&device.loaded) {
            return;
        }
        let id = device.loaded.device;
        let refused =
            if self.takes(&device) { self.refusal(&device.loaded) } else { Some(Reason::new("wrong_kind")) };
        if device.sent_before_today {
            self.stale.push(id);
        }
        let target = self.target(&device.loaded, refused);
        let target = self.targets.entry(id).or_insert(target);
        target.reference = target.reference.take().or(reference);
        self.keep(device.loaded);
    }

    /// Found through its user: one that can't take it is no target.
    pub(super) fn add_of_user(&mut self, device: Addressed) {
        if !self.is_wanted(&device.loaded) {
            return;
        }
        let id = device.loaded.device;
        let is_target = self.targets.contains_key(&id);
        if !is_target && (device.loaded.quarantined || !self.takes(&device)) {
            return;
        }
        self.matched_users.extend(device.loaded.user.clone());
        if !is_target {
            let refused = self.refusal(&device.loaded);
            let target = Target { user: device.loaded.user.clone(), ..self.target(&device.loaded, refused) };
            self.targets.insert(id, target);
            self.keep(device.loaded);
        }
    }

    fn keep(&mut self, device: LoadedDevice) {
        if self.targets.len() <= LOADED_MAX {
            self.loaded.insert(device.device, device);
        }
    }

    fn target(&self, device: &LoadedDevice, refused: Option<Reason>) -> Target {
        let lane = LaneKey::of(device.platform, device.environment);
        Target { device: device.device, lane: self.app.lane(lane).id, user: None, reference: None, refused }
    }

    fn refusal(&self, device: &LoadedDevice) -> Option<Reason> {
        let lane = self.app.lane(LaneKey::of(device.platform, device.environment));
        (!lane.configured).then(|| Reason::new("platform_not_configured"))
    }

    /// FCM tokens take everything; an APNs token what it was made for.
    fn takes(&self, device: &Addressed) -> bool {
        device.loaded.platform != Platform::Apns || device.kind == self.kind
    }

    fn is_wanted(&self, device: &LoadedDevice) -> bool {
        self.audience.platforms.as_ref().is_none_or(|some| some.contains(&device.platform))
            && !self.except_devices.contains(&device.device)
            && !device.user.as_ref().is_some_and(|user| self.except_users.contains(user))
    }

    /// Those that are known from sends alone and whose day is to be noted.
    pub(super) fn take_stale(&mut self) -> Vec<DeviceId> {
        let mut stale = std::mem::take(&mut self.stale);
        stale.sort_unstable();
        stale.dedup();
        stale
    }

    /// `known_ids`: those of the named ids that are there. `at`: before the first of them was read.
    pub(super) fn into_resolved(self, known_ids: &HashSet<DeviceId>, at: Instant) -> Resolved {
        let mut seen = HashSet::new();
        let users = self.audience.users.iter();
        let unmatched_users =
            users.filter(|user| !self.matched_users.contains(*user) && seen.insert(*user)).cloned().collect();
        let mut seen = HashSet::new();
        let is_unknown = |id: &Option<DeviceId>| id.is_none_or(|id| !known_ids.contains(&id));
        let devices = self.audience.devices.iter();
        let unmatched_devices = devices
            .filter(|(public, id)| is_unknown(id) && seen.insert(public))
            .map(|(public, _)| public.clone())
            .collect();
        let targets: Vec<Target> = self.targets.into_values().collect();
        let few = (1..=LOADED_MAX).contains(&targets.len());
        let loaded = few.then(|| LoadedDevices { at, devices: self.loaded.into_values().collect() });
        Resolved { targets, loaded, unmatched_users, unmatched_devices }
    }
}
