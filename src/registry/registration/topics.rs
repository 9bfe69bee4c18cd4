//! The rules of a device's topics: which of them a registration states, and which end when the device leaves its user.

use std::collections::BTreeMap;

use super::replacement::Takeover;
use super::{Registrar, Registration};
use crate::domain::{SubscriptionTerm, TopicName};

/// The topics of a device with the terms of its subscriptions.
pub(in crate::registry) type DeviceTopics = BTreeMap<TopicName, SubscriptionTerm>;

/// Ends the subscriptions that belong to the binding of a device to its user, because the device leaves the user.
pub(in crate::registry) fn end_bound_topics(topics: &mut DeviceTopics) {
    topics.retain(|_, term| *term != SubscriptionTerm::Binding);
}

/// As [`end_bound_topics`], where an app takes the device from its user. The closed topics that a backend set stay on this
/// device.
pub(super) fn keep_former_topics(topics: &mut DeviceTopics) {
    end_bound_topics(topics);
    let closed = topics.iter_mut().filter(|(topic, _)| topic.is_closed());
    closed.for_each(|(_, term)| *term = SubscriptionTerm::Former);
}

/// Sets the topics that a registration states. What it does not speak of stays: of an app, the closed topics that its
/// user token does not list.
pub(super) fn state_topics(registration: &Registration, caller: Registrar, topics: &mut DeviceTopics) {
    let Some(names) = &registration.details.topics else { return };
    let before = std::mem::take(topics);
    topics.extend(
        before
            .iter()
            .filter(|(topic, _)| !registration.may_state(topic, caller))
            .map(|(topic, term)| (topic.clone(), *term)),
    );
    for name in names {
        let term = match before.get(name) {
            _ if caller.is_trusted() || !name.is_closed() => SubscriptionTerm::Device,
            Some(term) => *term,
            None => SubscriptionTerm::Binding,
        };
        topics.insert(name.clone(), term);
    }
}

/// Adds the topics `of_old` of a replaced device, but for those that the registration states itself. False: some are
/// left out, because the device would have too many.
pub(super) fn take_over_topics(
    registration: &Registration,
    caller: Registrar,
    takeover: Takeover,
    of_old: DeviceTopics,
    topics: &mut DeviceTopics,
) -> bool {
    let has_statement = registration.details.topics.is_some();
    let mut taken = of_old;
    taken.retain(|topic, term| {
        let is_stated = has_statement && registration.may_state(topic, caller);
        let is_kept = *term == SubscriptionTerm::Former && !caller.is_trusted();
        takeover.includes(topic) && !is_kept && !is_stated && !topics.contains_key(topic)
    });
    let room = takeover.room(topics);
    let is_complete = taken.len() <= room;
    topics.extend(taken.into_iter().take(room));
    is_complete
}

impl Registration {
    /// Do the topics in the request say whether the device has this one? An app states its open topics, and those that
    /// its user token lists.
    fn may_state(&self, topic: &TopicName, caller: Registrar) -> bool {
        let opened = self.user_token.as_ref().and_then(|token| token.topics.as_ref());
        caller.is_trusted() || !topic.is_closed() || opened.is_some_and(|opened| opened.contains(topic))
    }
}
