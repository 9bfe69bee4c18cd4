//! The types of events by their public names, which scope sees each, and the patterns by which a reader chooses.

use super::Scope;
use super::wire_enum::wire_enum;

wire_enum! {
    /// What an event tells. The name is public; the number stands for it in sets of types.
    EventType {
        /// Devices of a notification have their final outcome.
        DeliveryRecorded = 0 "delivery.recorded",
        /// All devices of a notification have their final outcome.
        NotificationDone = 1 "notification.done",
        /// A notification was cancelled, and its last device has its final outcome.
        NotificationCancelled = 2 "notification.cancelled",
        /// Devices are not sent to any more.
        DeviceQuarantined = 3 "device.quarantined",
        /// Quarantined devices are sent to again.
        DeviceRestored = 4 "device.restored",
        /// The environment of devices was found to be another one.
        DeviceCorrected = 5 "device.corrected",
        /// A lane has another state.
        LaneChanged = 6 "lane.changed",
        /// A lane stopped pruning, because too many tokens were called dead.
        PruningBraked = 7 "pruning.braked",
        /// A lane prunes again.
        PruningReleased = 8 "pruning.released",
        /// A provider took or refused a credential.
        CredentialChanged = 9 "credential.changed",
        /// A clean-up run has ended.
        CleanupDone = 10 "cleanup.done",
        /// A node has started.
        NodeStarted = 11 "node.started",
        /// A node was declared dead.
        NodeDied = 12 "node.died",
        /// An API key was created.
        KeyCreated = 13 "key.created",
        /// An API key was revoked.
        KeyRevoked = 14 "key.revoked",
        /// A webhook fails for the third time in a row.
        WebhookFailing = 15 "webhook.failing",
        /// A webhook that failed works again.
        WebhookRecovered = 16 "webhook.recovered",
        /// A webhook has failed for too long, or its receiver has gone.
        WebhookDisabled = 17 "webhook.disabled",
        /// A webhook refuses one event for ever.
        WebhookSetAside = 18 "webhook.set_aside",
        /// An operator changed something.
        AdminAction = 19 "admin.action",
    }
}

/// A set of event types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventTypes(u32);

impl EventType {
    /// The scope that sees events of this type.
    pub fn scope(self) -> Scope {
        match self {
            Self::DeliveryRecorded
            | Self::NotificationDone
            | Self::NotificationCancelled
            | Self::DeviceQuarantined
            | Self::DeviceRestored
            | Self::DeviceCorrected => Scope::Read,
            Self::LaneChanged
            | Self::PruningBraked
            | Self::PruningReleased
            | Self::CredentialChanged
            | Self::CleanupDone
            | Self::NodeStarted
            | Self::NodeDied
            | Self::KeyCreated
            | Self::KeyRevoked
            | Self::WebhookFailing
            | Self::WebhookRecovered
            | Self::WebhookDisabled
            | Self::WebhookSetAside
            | Self::AdminAction => Scope::Admin,
        }
    }

    /// What the name says before its dot: the thing that the event is about.
    pub fn group(self) -> &'static str {
        self.as_str().split_once('.').map_or("", |(group, _)| group)
    }
}

impl EventTypes {
    /// No type of event.
    pub const NONE: Self = Self(0);
    /// Every type of event.
    pub const ALL: Self = Self((1 << EventType::ALL.len()) - 1);

    /// The types of a name, or of a pattern such as `delivery.*`. None: there is no such type.
    pub fn parse(pattern: &str) -> Option<Self> {
        if let Some(one) = EventType::parse(pattern) {
            return Some(Self::NONE.with(one));
        }
        let group = pattern.strip_suffix(".*")?;
        let of_group = EventType::ALL.iter().filter(|each| each.group() == group);
        let all = of_group.fold(Self::NONE, |all, each| all.with(*each));
        (all != Self::NONE).then_some(all)
    }

    /// Every name and pattern that [`Self::parse`] takes.
    pub fn patterns() -> Vec<String> {
        let mut patterns: Vec<String> = Vec::new();
        for each in EventType::ALL {
            let group = format!("{}.*", each.group());
            if patterns.iter().all(|known| *known != group) {
                patterns.push(group);
            }
            patterns.push(each.as_str().to_owned());
        }
        patterns
    }

    /// The types that a key with this scope, `read` or `admin`, sees.
    pub fn seen_by(is_admin: bool) -> Self {
        let seen = EventType::ALL.iter().filter(|each| is_admin || each.scope() == Scope::Read);
        seen.fold(Self::NONE, |all, each| all.with(*each))
    }

    /// These types and one more.
    #[must_use]
    pub fn with(self, one: EventType) -> Self {
        Self(self.0 | 1 << one.code())
    }

    /// The types of either set.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The types of both sets.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The types of this set that are not in the other.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The types, in the order of their numbers.
    pub fn each(self) -> Vec<EventType> {
        EventType::ALL.iter().copied().filter(|each| self.has(*each)).collect()
    }

    /// Is the type in the set?
    pub fn has(self, one: EventType) -> bool {
        self.0 & (1 << one.code()) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_its_own_place_in_a_set() {
        for (at, each) in EventType::ALL.iter().enumerate() {
            assert_eq!(usize::try_from(each.code()), Ok(at));
            assert!(EventTypes::ALL.has(*each));
            assert!(EventTypes::ALL.and(EventTypes::NONE.with(*each)).has(*each));
        }
    }

    #[test]
    fn a_pattern_is_a_type_or_all_types_of_a_thing() {
        let done = EventTypes::parse("notification.done").expect("a type");
        assert!(done.has(EventType::NotificationDone) && !done.has(EventType::NotificationCancelled));
        let all = EventTypes::parse("notification.*").expect("a pattern");
        assert!(all.has(EventType::NotificationDone) && all.has(EventType::NotificationCancelled));
        assert!(!all.has(EventType::DeliveryRecorded));
        for wrong in [
            "",
            "*",
            ".*",
            "notification",
            "notification.",
            "Notification.*",
            "notification.do*",
            "webhook.test",
        ] {
            assert_eq!(EventTypes::parse(wrong), None, "{wrong}");
        }
        for pattern in EventTypes::patterns() {
            assert!(EventTypes::parse(&pattern).is_some(), "{pattern}");
        }
    }

    #[test]
    fn a_read_key_sees_deliveries_notifications_and_devices_alone() {
        let seen = EventTypes::seen_by(false);
        let groups: Vec<_> =
            EventType::ALL.iter().filter(|each| seen.has(**each)).map(|each| each.group()).collect();
        assert_eq!(groups, ["delivery", "notification", "notification", "device", "device", "device"]);
        assert_eq!(EventTypes::seen_by(true), EventTypes::ALL);
    }
}
