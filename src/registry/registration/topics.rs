//! The rules of a device's topics: which of them a registration states, and which end when the device leaves its user.

use std::collections::BTreeMap;

use super::replacement::Takeover;
use super::{Registrar, Registration};
use crate::domain::{SubscriptionTerm, TopicName};

/// The topics of a device with the terms of its subscriptions.
pub(in crate::registry) type DeviceTopics = BTreeMap<TopicName, SubscriptionTerm>;

/// Ends the subscriptions that belong to the binding of a device to its user, because the device leaves the user.
pub(in crate::registry) fn end_bound_topics(topics: &mut DeviceTopics) {
    topics.retain(|_, term| *term == SubscriptionTerm::Device);
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
        let is_backends = caller.is_trusted() || before.get(name) == Some(&SubscriptionTerm::Device);
        let term = match name.is_closed() && !is_backends {
            true => SubscriptionTerm::Binding,
            false => SubscriptionTerm::Device,
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
    taken.retain(|topic, _| {
        let is_stated = has_statement && registration.may_state(topic, caller);
        takeover.includes(topic) && !is_stated && !topics.contains_key(topic)
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
