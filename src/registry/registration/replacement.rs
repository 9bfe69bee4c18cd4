//! What `replaces` does: a phone has a new token, and its old device is to go.
//!
//! Any phone can claim the place of any device whose token it knows. So a claim by a publishable key does nothing to a
//! device that has a user until the backend binds the new device to the same user.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use super::{FieldChange, Registrar, Registration};
use crate::domain::{DeviceId, PushpostReason, QuarantineReason, TopicName};
use crate::store::devices::{Device, Quarantine, Replacement};

/// How long a claim waits for the new device to be bound to the old device's user (PRODUCT.md, `replaces`).
const CLAIM_LIFE: TimeDelta = TimeDelta::days(30);

/// What the new device takes over, and what becomes of the old one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Takeover {
    /// Everything. The old device is set aside.
    Whole,
    /// What an app may set. The old device, which has no user, is set aside.
    OpenPart,
    /// The environment only. The old device stays until both have the same user.
    Pending,
}

impl Takeover {
    /// By a caller, of a device. None: the device was replaced before, and a replay must not bring back what has changed
    /// since.
    pub(super) fn of(old: &Device, caller: Registrar) -> Option<Self> {
        if old
            .quarantine
            .as_ref()
            .is_some_and(|quarantine| quarantine.reason.0 == PushpostReason::Replaced.as_str())
        {
            return None;
        }
        Some(match caller.is_trusted() {
            true => Self::Whole,
            false if old.user.is_none() => Self::OpenPart,
            false => Self::Pending,
        })
    }

    /// Does the new device have a subscription of the old one?
    pub(super) fn includes(self, topic: &TopicName) -> bool {
        match self {
            Self::Whole => true,
            Self::OpenPart => !topic.is_closed(),
            Self::Pending => false,
        }
    }

    /// How many subscriptions the new device may take over beside its own.
    pub(super) fn room(self, own: &BTreeSet<TopicName>) -> usize {
        match self {
            Self::Whole => usize::MAX,
            Self::OpenPart | Self::Pending => {
                TopicName::OPEN_MAX.saturating_sub(own.iter().filter(|topic| !topic.is_closed()).count())
            }
        }
    }
}

impl Registration {
    /// Fills what neither this registration nor an earlier one said from the device whose place is taken. Only a new
    /// device takes over the environment: a known one has its own.
    pub(super) fn inherit(
        &self,
        device: &mut Device,
        old: &Device,
        takeover: Takeover,
        is_new: bool,
        now: DateTime<Utc>,
    ) {
        if is_new && matches!(self.details.environment, FieldChange::Keep) {
            device.environment = old.environment;
        }
        if takeover == Takeover::Pending {
            device.replaces = Some(Replacement { device: old.id, at: now });
            return;
        }
        if takeover == Takeover::Whole {
            fill(&self.details.user, &mut device.user, &old.user);
        }
        fill(&self.details.locale, &mut device.locale, &old.locale);
        fill(&self.details.timezone, &mut device.timezone, &old.timezone);
        fill(&self.details.app_version, &mut device.app_version, &old.app_version);
        // What waits for the old device's binding waits for the new one's.
        device.replaces = device.replaces.or(old.replaces).filter(|replaces| replaces.device != device.id);
    }
}

fn fill<T: Clone>(said: &FieldChange<T>, field: &mut Option<T>, old: &Option<T>) {
    if matches!(said, FieldChange::Keep) && field.is_none() {
        field.clone_from(old);
    }
}

/// The device whose place `device` takes as soon as both have the same user. None: no claim waits, or `device` has no
/// user.
pub fn claimed(device: &Device, now: DateTime<Utc>) -> Option<DeviceId> {
    let claim = device.replaces.filter(|claim| claim.at + CLAIM_LIFE > now);
    claim.filter(|_| device.user.is_some()).map(|claim| claim.device)
}

/// Sets `old` aside if it has the user of `device`, which claims its place.
pub fn settle(device: &mut Device, old: &mut Device, now: DateTime<Utc>) {
    if device.user.is_some() && old.user == device.user {
        device.replaces = None;
        // A provider's verdict says more than an app's claim.
        if old.quarantine.is_none() {
            replace(old, now);
        }
    }
}

/// Sets a device aside whose app has a newer token; whatever it was set aside for before is past.
pub(super) fn replace(device: &mut Device, now: DateTime<Utc>) {
    device.quarantine = Some(Quarantine {
        at: now,
        reason: QuarantineReason(PushpostReason::Replaced.as_str().to_owned()),
        evidence_at: None,
    });
}
