//! Where a page of a paged audience looks for devices: the topics of which each device of the audience has at least one.
//! It asks no database.
//!
//! An audience has many such sets: for `news && team:42` each of the two topics is one. The set that lets the page reach
//! furthest is taken, so a topic of few devices is not looked for among all devices of a large one.

use std::collections::BTreeSet;

use crate::domain::{Condition, DeviceId, FanOut, FanOutPart, TopicName};
use crate::store::topics::TopicId;

/// What a page knows of one topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TopicReach {
    /// None: the topic does not exist.
    pub(super) topic: Option<TopicId>,
    /// All devices of the topic up to this one can be read. None: its devices can't be read in id order, because too many
    /// users have it.
    pub(super) device: Option<DeviceId>,
}

/// Topics of which each device of an audience has at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Cover {
    pub(super) topics: BTreeSet<TopicId>,
    /// All devices of the topics up to this one can be read.
    pub(super) reach: DeviceId,
}

impl Cover {
    /// The cover of no device.
    fn empty() -> Self {
        Self { topics: BTreeSet::new(), reach: DeviceId(i64::MAX) }
    }

    fn union(mut self, other: Self) -> Self {
        self.topics.extend(other.topics);
        Self { topics: self.topics, reach: self.reach.min(other.reach) }
    }

    /// Which of two covers is better: the one that reaches further, or else the one of fewer topics.
    fn better(self, other: Self) -> Self {
        let key = |cover: &Self| (cover.reach, std::cmp::Reverse(cover.topics.len()));
        if key(&other) > key(&self) { other } else { self }
    }
}

/// The cover of an audience. None: there is none, because devices without a topic are in the audience, or because all
/// covers have topics that can't be read in id order.
pub(super) fn cover(audience: &FanOut, reach: &impl Fn(&TopicName) -> TopicReach) -> Option<Cover> {
    let of_topic = |name: &TopicName| {
        let TopicReach { topic, device } = reach(name);
        Some(Cover { topics: topic.into_iter().collect(), reach: device? })
    };
    let parts = audience.parts.iter().map(|part| match part {
        FanOutPart::All => None,
        FanOutPart::Topics(names) => union(names.iter().map(of_topic)),
        FanOutPart::Condition(condition) => of_condition(condition, true, &of_topic),
    });
    union(parts)
}

/// The cover of the devices for which the condition holds, or for which it does not if `holds` is false.
fn of_condition(
    condition: &Condition,
    holds: bool,
    of_topic: &impl Fn(&TopicName) -> Option<Cover>,
) -> Option<Cover> {
    match (condition, holds) {
        (Condition::Topic(name), true) => of_topic(name),
        // Devices without the topic, which no subscription shows.
        (Condition::Topic(_), false) => None,
        (Condition::Not(inner), _) => of_condition(inner, !holds, of_topic),
        (Condition::Any(parts), true) | (Condition::All(parts), false) => {
            union(parts.iter().map(|part| of_condition(part, holds, of_topic)))
        }
        (Condition::All(parts), true) | (Condition::Any(parts), false) => {
            parts.iter().filter_map(|part| of_condition(part, holds, of_topic)).reduce(Cover::better)
        }
    }
}

fn union(mut parts: impl Iterator<Item = Option<Cover>>) -> Option<Cover> {
    parts.try_fold(Cover::empty(), |all, part| Some(all.union(part?)))
}

#[cfg(test)]
mod tests {
    use super::super::test_audiences::{audience, topic};
    use super::*;

    /// The devices of topic `t5` can be read up to device 5, and so on; those of `users` can't be read; `unknown` does not
    /// exist.
    fn reach(name: &TopicName) -> TopicReach {
        match name.as_str() {
            "unknown" => TopicReach { topic: None, device: Some(DeviceId(i64::MAX)) },
            "users" => TopicReach { topic: Some(0), device: None },
            other => {
                let number: i64 = other[1..].parse().expect("t and a number");
                TopicReach { topic: Some(number), device: Some(DeviceId(number)) }
            }
        }
    }

    fn found(parts: Vec<FanOutPart>) -> Option<(Vec<TopicId>, i64)> {
        let found = cover(&audience(parts), &reach)?;
        Some((found.topics.into_iter().collect(), found.reach.0))
    }

    fn of(condition: &str) -> Option<(Vec<TopicId>, i64)> {
        found(vec![FanOutPart::Condition(Condition::parse(condition).expect(condition))])
    }

    #[test]
    fn a_union_reaches_as_far_as_its_nearest_topic() {
        let list = |names: &[&str]| FanOutPart::Topics(names.iter().map(|name| topic(name)).collect());
        assert_eq!(found(vec![list(&["t5", "t9", "unknown"])]), Some((vec![5, 9], 5)));
        assert_eq!(found(vec![list(&["t5"]), list(&["t3"])]), Some((vec![3, 5], 3)));
        assert_eq!(found(vec![list(&["unknown"])]), Some((vec![], i64::MAX)), "it has no devices");
        assert_eq!(found(vec![list(&["t5", "users"])]), None);
        assert_eq!(found(vec![list(&["t5"]), FanOutPart::All]), None);
        assert_eq!(of("t5 || t9"), Some((vec![5, 9], 5)));
    }

    #[test]
    fn of_topics_that_are_all_needed_the_one_that_reaches_furthest_is_enough() {
        assert_eq!(of("t5 && t9 && t7"), Some((vec![9], 9)));
        assert_eq!(of("t5 && users"), Some((vec![5], 5)));
        assert_eq!(of("(t5 || t9) && t7"), Some((vec![7], 7)));
        assert_eq!(of("t5 && unknown"), Some((vec![], i64::MAX)));
        assert_eq!(of("(t5 || t6) && t5"), Some((vec![5], 5)), "fewer topics");
    }

    #[test]
    fn devices_without_a_topic_have_no_cover() {
        assert_eq!(of("!t5"), None);
        assert_eq!(of("t5 || !t9"), None);
        assert_eq!(of("t5 && !t9"), Some((vec![5], 5)));
        assert_eq!(of("!!t5"), Some((vec![5], 5)));
        assert_eq!(of("!(t5 || !t9)"), Some((vec![9], 9)));
        assert_eq!(of("!(!t5 && !t9)"), Some((vec![5, 9], 5)));
        assert_eq!(of("!(t5 && t9)"), None);
    }
}
