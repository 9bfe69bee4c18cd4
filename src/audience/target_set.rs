//! The targets of one audience while they are collected: each device once, with the rules of which devices may be
//! targets. Used by `resolve`.

use std::collections::{BTreeMap, HashSet};

use tokio::time::Instant;

use super::selector::TokenDevice;
use super::{Audience, Resolved};
use crate::domain::{
    App, DeviceId, Kind, LaneId, LaneKey, PushpostReason, Reason, References, Target, UserId,
};
use crate::store::devices::Addressed;
use crate::store::tokens::{LoadedDevice, LoadedDevices};

/// The devices of larger audiences are loaded again before they are sent to: one statement for many devices costs
/// little per device, and accepted jobs must not hold the tokens of millions in memory.
const LOADED_MAX: usize = 100;

/// The targets of one audience.
pub(super) struct TargetSet<'a> {
    app: &'a App,
    audience: &'a Audience,
    /// The kind of APNs token that the notification needs.
    kind: Kind,
    targets: BTreeMap<DeviceId, Target>,
    matched_users: HashSet<UserId>,
    except_users: HashSet<&'a UserId>,
    except_devices: HashSet<DeviceId>,
    /// Send-only devices with a last-sent day before today.
    unmarked: Vec<DeviceId>,
    /// The devices of `targets`, as long as there are at most [`LOADED_MAX`].
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
            unmarked: Vec::new(),
            loaded: BTreeMap::new(),
        }
    }

    /// These devices become no targets.
    pub(super) fn leave_out(&mut self, devices: impl IntoIterator<Item = DeviceId>) {
        self.except_devices.extend(devices);
    }

    /// Adds a device that was named by id or token. It becomes a target whatever its state is, so that its delivery
    /// says what is wrong with it.
    pub(super) fn add_explicit(&mut self, device: Addressed, references: References) {
        if !self.is_included(&device.loaded) {
            return;
        }
        let id = device.loaded.device;
        let refused = match self.accepts_kind(&device) {
            true => self.refusal(&device.loaded),
            false => Some(Reason::from(PushpostReason::WrongKind)),
        };
        if device.sent_before_today {
            self.unmarked.push(id);
        }
        let target = self.target(&device.loaded, refused);
        let target = self.targets.entry(id).or_insert(target);
        target.references.merge(references);
        self.keep_loaded(device.loaded);
    }

    /// Adds a device of a user that was named. A device that can't get the notification becomes no target.
    pub(super) fn add_of_user(&mut self, device: Addressed) {
        if !self.is_included(&device.loaded) {
            return;
        }
        let id = device.loaded.device;
        let is_target = self.targets.contains_key(&id);
        if !is_target && (device.loaded.quarantined || !self.accepts_kind(&device)) {
            return;
        }
        self.matched_users.extend(device.loaded.user.clone());
        if !is_target {
            let refused = self.refusal(&device.loaded);
            let target = Target { user: device.loaded.user.clone(), ..self.target(&device.loaded, refused) };
            self.targets.insert(id, target);
            self.keep_loaded(device.loaded);
        }
    }

    /// Adds a device that was deleted after the request had named its token. Its delivery says so.
    pub(super) fn add_gone(&mut self, token: &TokenDevice) {
        let platform = token.lane.map(LaneKey::platform);
        let is_included = platform.is_none_or(|platform| self.audience.includes(platform));
        if !is_included || self.except_devices.contains(&token.device) {
            return;
        }
        let lane = token.lane.map_or(LaneId::NONE, |lane| self.app.lane(lane).id);
        let refused = Some(Reason::from(PushpostReason::DeviceGone));
        let references = token.references.clone();
        let target = Target { device: token.device, lane, user: None, references, refused };
        self.targets.insert(token.device, target);
    }

    fn keep_loaded(&mut self, device: LoadedDevice) {
        if self.targets.len() <= LOADED_MAX {
            self.loaded.insert(device.device, device);
        }
    }

    fn target(&self, device: &LoadedDevice, refused: Option<Reason>) -> Target {
        let lane = LaneKey::of(device.platform, device.environment);
        let lane = self.app.lane(lane).id;
        Target { device: device.device, lane, user: None, references: References::default(), refused }
    }

    fn refusal(&self, device: &LoadedDevice) -> Option<Reason> {
        let lane = self.app.lane(LaneKey::of(device.platform, device.environment));
        (!lane.configured).then(|| Reason::from(PushpostReason::PlatformNotConfigured))
    }

    /// Where a platform has kinds of token, a token takes only the notifications of its kind.
    fn accepts_kind(&self, device: &Addressed) -> bool {
        !device.loaded.platform.has_kinds() || device.kind == self.kind
    }

    fn is_included(&self, device: &LoadedDevice) -> bool {
        self.audience.includes(device.platform)
            && !self.except_devices.contains(&device.device)
            && !device.user.as_ref().is_some_and(|user| self.except_users.contains(user))
    }

    /// The number of targets so far.
    pub(super) fn len(&self) -> usize {
        self.targets.len()
    }

    /// Takes the send-only devices that are to be marked as sent today: ascending, each once.
    pub(super) fn take_devices_to_mark_sent(&mut self) -> Vec<DeviceId> {
        super::sorted(std::mem::take(&mut self.unmarked).into_iter())
    }

    /// The result. `known_ids` are the named ids that exist; `at` is a time before the first device was read.
    pub(super) fn into_resolved(self, known_ids: &HashSet<DeviceId>, at: Instant) -> Resolved {
        let mut seen = HashSet::new();
        let unmatched_users = self
            .audience
            .users()
            .filter(|user| !self.matched_users.contains(*user) && seen.insert(*user))
            .cloned()
            .collect();
        let mut seen = HashSet::new();
        let is_unknown = |id: &Option<DeviceId>| id.is_none_or(|id| !known_ids.contains(&id));
        let unmatched_devices = self
            .audience
            .devices()
            .filter(|device| is_unknown(&device.id) && seen.insert(&device.public_id))
            .map(|device| device.public_id.clone())
            .collect();
        let targets: Vec<Target> = self.targets.into_values().collect();
        let are_few = (1..=LOADED_MAX).contains(&targets.len());
        let loaded = are_few.then(|| LoadedDevices { at, devices: self.loaded.into_values().collect() });
        Resolved { targets, loaded, unmatched_users, unmatched_devices }
    }
}
