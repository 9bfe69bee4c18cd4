//! The rules of `replaces`: a phone has a new token, and its old device is to be quarantined.
//!
//! Any app can claim to replace any device if it knows the token of that device. So a claim by a publishable key
//! changes nothing on a device that has a user, unless a user token proves the same user, or until the new device gets
//! the same user.

use chrono::{DateTime, TimeDelta, Utc};

use super::topics::DeviceTopics;
use super::{FieldChange, Registrar, Registration};
use crate::domain::{DeviceId, PushpostReason, QuarantineReason, TopicName, UserId};
use crate::store::devices::{Device, Quarantine, Replacement};

/// How long a claim waits until the new device has the user of the old one.
const CLAIM_AGE_MAX: TimeDelta = TimeDelta::days(30);

/// How much the new device takes over from the old one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Takeover {
    /// Everything. The old device is quarantined.
    Whole,
    /// What an app may set itself. The old device, which has no user, is quarantined.
    OpenPart,
    /// The environment only. The old device stays active until both devices have the same user.
    Pending,
}

impl Takeover {
    /// How much a device of this caller takes over from `old`. None: `old` was replaced before, and a repeated request
    /// must not undo what has changed since.
    /// `proven_user` is the user of the caller's user token.
    pub(super) fn of(old: &Device, caller: Registrar, proven_user: Option<&UserId>) -> Option<Self> {
        let is_replaced = |old: &Quarantine| old.reason.0 == PushpostReason::Replaced.as_str();
        if old.quarantine.as_ref().is_some_and(is_replaced) {
            return None;
        }
        Some(match (caller.is_trusted(), &old.user) {
            (true, _) => Self::Whole,
            (false, None) => Self::OpenPart,
            (false, Some(user)) if proven_user == Some(user) => Self::Whole,
            (false, Some(_)) => Self::Pending,
        })
    }

    /// Does the new device take over this subscription?
    pub(super) fn includes(self, topic: &TopicName) -> bool {
        match self {
            Self::Whole => true,
            Self::OpenPart => !topic.is_closed(),
            Self::Pending => false,
        }
    }

    /// How many subscriptions the new device may take over in addition to its `own`.
    pub(super) fn room(self, own: &DeviceTopics) -> usize {
        match self {
            Self::Whole => usize::MAX,
            Self::OpenPart | Self::Pending => {
                TopicName::OPEN_MAX.saturating_sub(own.keys().filter(|topic| !topic.is_closed()).count())
            }
        }
    }
}

impl Registration {
    /// Copies from the `old` device what neither this registration nor an earlier one stated. Only a new device takes
    /// over the environment: a known device has its own. So has a device with the environment in its token.
    pub(super) fn take_over(
        &self,
        device: &mut Device,
        old: &Device,
        takeover: Takeover,
        is_new: bool,
        now: DateTime<Utc>,
    ) {
        let is_stated = !device.platform.stated_environments().is_empty();
        if is_new && is_stated && matches!(self.details.environment, FieldChange::Keep) {
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
        // A claim that waits for the user of the old device now waits for the user of the new one.
        device.replaces = device.replaces.or(old.replaces).filter(|replaces| replaces.device != device.id);
    }
}

fn fill<T: Clone>(stated: &FieldChange<T>, field: &mut Option<T>, old: &Option<T>) {
    if matches!(stated, FieldChange::Keep) && field.is_none() {
        field.clone_from(old);
    }
}

/// The device that `device` replaces as soon as both have the same user. None: there is no claim, or `device` has no
/// user.
pub fn claimed_device(device: &Device, now: DateTime<Utc>) -> Option<DeviceId> {
    let claim = device.replaces.filter(|claim| claim.at + CLAIM_AGE_MAX > now);
    claim.filter(|_| device.user.is_some()).map(|claim| claim.device)
}

/// Quarantines `old` if it has the same user as `device`, which claims to replace it.
pub fn settle_claim(device: &mut Device, old: &mut Device, now: DateTime<Utc>) {
    if device.user.is_some() && old.user == device.user {
        device.replaces = None;
        // A quarantine by a provider's verdict keeps its reason.
        if old.quarantine.is_none() {
            quarantine_replaced(old, now);
        }
    }
}

/// Quarantines a device because the app has a newer token. An earlier reason is overwritten.
pub(super) fn quarantine_replaced(device: &mut Device, now: DateTime<Utc>) {
    device.quarantine = Some(Quarantine {
        at: now,
        reason: QuarantineReason(PushpostReason::Replaced.as_str().to_owned()),
        evidence_at: None,
    });
}
