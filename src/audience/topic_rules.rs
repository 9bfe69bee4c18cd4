//! Which devices belong to a paged audience, by their topics. Pure: topics are bits, so that a device is judged by two
//! numbers.

use std::collections::HashMap;

use crate::domain::{Condition, FanOut, FanOutPart, TopicName};
use crate::store::topics::TopicId;

/// A set of topics. Topics that the audience need not tell apart, as those of one list, share a bit.
pub(super) type TopicBits = u64;

/// How a device belongs to an audience.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Membership {
    /// Whatever its user is.
    Own,
    /// Only as long as it has its present user: it needs a topic of the user.
    ThroughUser,
}

/// The topics of one audience, and what they decide.
#[derive(Debug)]
pub(super) struct TopicRules {
    /// Topics that exist.
    bits: HashMap<TopicId, TopicBits>,
    parts: Vec<PartRule>,
    except: TopicBits,
}

#[derive(Debug)]
enum PartRule {
    Always,
    AnyOf(TopicBits),
    Condition(Condition<TopicBits>),
}

/// Gives out bits, and collects those of each topic by its name.
#[derive(Default)]
struct BitAssignment<'a> {
    used: u32,
    names: HashMap<&'a TopicName, TopicBits>,
}

impl<'a> BitAssignment<'a> {
    /// One bit for all of these topics. None: there is none left.
    fn assign(&mut self, names: impl IntoIterator<Item = &'a TopicName>) -> Option<TopicBits> {
        let bit = 1_u64.checked_shl(self.used)?;
        self.used += 1;
        for name in names {
            *self.names.entry(name).or_default() |= bit;
        }
        Some(bit)
    }

    fn rule(&mut self, part: &'a FanOutPart) -> Option<PartRule> {
        Some(match part {
            FanOutPart::All => PartRule::Always,
            FanOutPart::Topics(names) => PartRule::AnyOf(self.assign(names)?),
            FanOutPart::Condition(condition) => {
                let mut own = HashMap::new();
                for name in condition.topics() {
                    own.insert(name, self.assign([name])?);
                }
                PartRule::Condition(condition.map(&|name| own.get(name).copied().unwrap_or_default()))
            }
        })
    }
}

impl TopicRules {
    /// The rules of an audience; `ids` has the topics that exist. None: the audience tells more topics apart than there are
    /// bits. A request can't do that, because it has one condition of at most 20 topics.
    pub(super) fn new(audience: &FanOut, ids: &HashMap<TopicName, TopicId>) -> Option<Self> {
        let mut assignment = BitAssignment::default();
        let except = assignment.assign(&audience.except_topics)?;
        let parts: Option<Vec<PartRule>> = audience.parts.iter().map(|part| assignment.rule(part)).collect();
        let bits = assignment.names.into_iter().filter_map(|(name, bits)| Some((*ids.get(name)?, bits)));
        Some(Self { bits: bits.collect(), parts: parts?, except })
    }

    /// The bits of one topic.
    pub(super) fn bits(&self, topic: TopicId) -> TopicBits {
        self.bits.get(&topic).copied().unwrap_or_default()
    }

    /// How a device with these topics, of its own and of its user, belongs to the audience. None: it does not.
    pub(super) fn membership(&self, own: TopicBits, of_user: TopicBits) -> Option<Membership> {
        let all = own | of_user;
        if all & self.except != 0 {
            return None;
        }
        let mut membership = None;
        for part in self.parts.iter().filter(|part| part.holds(all)) {
            if part.holds(own) {
                return Some(Membership::Own);
            }
            membership = Some(Membership::ThroughUser);
        }
        membership
    }
}

impl PartRule {
    fn holds(&self, topics: TopicBits) -> bool {
        match self {
            Self::Always => true,
            Self::AnyOf(bit) => topics & bit != 0,
            Self::Condition(condition) => condition.holds(&|bit| topics & bit != 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_audiences::{audience, topic};
    use super::*;

    /// `news` is topic 1, `sport` 2, `quiet` 3; `unknown` does not exist.
    fn rules(parts: Vec<FanOutPart>, except: &[&str]) -> TopicRules {
        let mut audience = audience(parts);
        audience.except_topics = except.iter().map(|name| topic(name)).collect();
        let ids = [("news", 1), ("sport", 2), ("quiet", 3)].map(|(name, id)| (topic(name), id));
        TopicRules::new(&audience, &ids.into()).expect("few topics")
    }

    fn membership(rules: &TopicRules, own: &[TopicId], of_user: &[TopicId]) -> Option<Membership> {
        let bits = |topics: &[TopicId]| topics.iter().fold(0, |bits, topic| bits | rules.bits(*topic));
        rules.membership(bits(own), bits(of_user))
    }

    fn condition(text: &str) -> FanOutPart {
        FanOutPart::Condition(Condition::parse(text).expect(text))
    }

    #[test]
    fn a_subscription_of_the_device_wins_over_that_of_its_user() {
        let rules =
            rules(vec![FanOutPart::Topics(vec![topic("news"), topic("sport"), topic("unknown")])], &[]);
        assert_eq!(membership(&rules, &[1], &[]), Some(Membership::Own));
        assert_eq!(membership(&rules, &[1], &[2]), Some(Membership::Own));
        assert_eq!(membership(&rules, &[3], &[2]), Some(Membership::ThroughUser));
        assert_eq!(membership(&rules, &[3], &[3]), None);
    }

    #[test]
    fn a_condition_is_over_the_topics_of_the_device_and_of_its_user() {
        let rules = rules(vec![condition("news && !sport")], &[]);
        assert_eq!(membership(&rules, &[1], &[]), Some(Membership::Own));
        assert_eq!(membership(&rules, &[1], &[2]), None, "the user has what the condition excludes");
        assert_eq!(membership(&rules, &[], &[1]), Some(Membership::ThroughUser));
        let both = self::rules(vec![condition("news && sport")], &[]);
        assert_eq!(membership(&both, &[1], &[2]), Some(Membership::ThroughUser));
        assert_eq!(membership(&both, &[1, 2], &[2]), Some(Membership::Own));
    }

    #[test]
    fn a_topic_that_does_not_exist_is_one_that_no_device_has() {
        assert_eq!(membership(&rules(vec![condition("unknown || news")], &[]), &[2], &[]), None);
        let without = rules(vec![condition("!unknown")], &[]);
        assert_eq!(membership(&without, &[], &[]), Some(Membership::Own));
    }

    #[test]
    fn parts_are_a_union_and_an_excepted_topic_leaves_out() {
        let parts = || vec![FanOutPart::Topics(vec![topic("news")]), condition("sport && !news")];
        let union = rules(parts(), &["quiet"]);
        assert_eq!(membership(&union, &[1], &[]), Some(Membership::Own));
        assert_eq!(membership(&union, &[2], &[]), Some(Membership::Own));
        assert_eq!(membership(&union, &[2], &[1]), Some(Membership::ThroughUser), "by the list alone");
        assert_eq!(membership(&union, &[1, 3], &[]), None);
        assert_eq!(membership(&union, &[1], &[3]), None, "a topic of the user leaves out too");
        let all = rules(vec![FanOutPart::All], &["quiet"]);
        assert_eq!(membership(&all, &[], &[1]), Some(Membership::Own));
        assert_eq!(membership(&all, &[3], &[]), None);
    }

    #[test]
    fn more_topics_than_bits_are_refused() {
        let parts = |count: usize| {
            (0..count).map(|n| FanOutPart::Topics(vec![topic(&n.to_string())])).collect::<Vec<_>>()
        };
        assert!(TopicRules::new(&audience(parts(63)), &HashMap::new()).is_some());
        assert!(TopicRules::new(&audience(parts(64)), &HashMap::new()).is_none());
    }
}
