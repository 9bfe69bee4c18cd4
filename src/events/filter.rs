//! Which events a reader wants.

use super::reader::WrittenEvent;
use crate::domain::{DeviceDetail, EventType, EventTypes, NotificationId};

/// Which events are read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventFilter {
    /// Events of these types.
    pub types: EventTypes,
    /// Only events about these notifications; empty: all events.
    pub notifications: Vec<NotificationId>,
    /// Which devices a `delivery.recorded` lists.
    pub devices: DeviceDetail,
}

impl Default for EventFilter {
    fn default() -> Self {
        Self { types: EventTypes::ALL, notifications: Vec::new(), devices: DeviceDetail::All }
    }
}

impl EventFilter {
    /// Does the filter let events about this notification pass?
    pub(super) fn admits(&self, id: NotificationId) -> bool {
        self.notifications.is_empty() || self.notifications.contains(&id)
    }

    /// Does it let an event of this type about this notification, or about none, pass?
    pub(super) fn admits_event(&self, event: &WrittenEvent) -> bool {
        let of_notification = event.notification.map_or(self.notifications.is_empty(), |id| self.admits(id));
        of_notification && self.types.has(event.kind)
    }

    /// May the end of a notification be told?
    pub(super) fn may_tell_ends(&self) -> bool {
        self.types.has(EventType::NotificationDone) || self.types.has(EventType::NotificationCancelled)
    }
}
