//! Which topics of an audience the candidates of a page have, by subscriptions of their own.
//!
//! Subscribers that the page has read already are not read again. Of the other topics a page reads the subscribers between its first and
//! its last device, because an index has them side by side; where these are too many, it looks up the topics of each device.

use std::collections::{HashMap, HashSet};

use super::candidates::{TopicSubscribers, first_subscribers, numbers};
use super::topic_rules::{TopicBits, TopicRules};
use crate::domain::{DeviceId, TopicName};
use crate::store;
use crate::store::Session;
use crate::store::topics::{self, TopicId};

/// Subscribers of one topic that are read at most, as a multiple of the candidates.
const READ_RATIO: usize = 2;
/// Subscribers that are read at most over all topics: twenty topics, the most that a condition has, for 10,000 devices each.
const READ_MAX: usize = READ_RATIO * 20 * 10_000;

/// The bits of each of these devices, which are ascending, in their order. `read` are subscribers that are known.
pub(super) async fn own_topics(
    conn: &mut Session,
    devices: &[DeviceId],
    read: &[TopicSubscribers],
    rules: &TopicRules,
    ids: &HashMap<TopicName, TopicId>,
) -> Result<Vec<TopicBits>, store::Error> {
    let (Some(first), Some(last)) = (devices.first(), devices.last()) else { return Ok(Vec::new()) };
    let mut marks = Marks { devices, bits: vec![0; devices.len()], unknown: numbers(ids) };
    marks.add_complete(read, rules);
    if (1..=devices.len()).contains(&marks.unknown.len()) {
        let limit = (READ_MAX / marks.unknown.len()).clamp(1, READ_RATIO * devices.len());
        let range = (DeviceId(first.0 - 1), *last);
        let between = first_subscribers(conn, &marks.unknown, range, limit).await?;
        marks.add_complete(&between, rules);
    }
    if !marks.unknown.is_empty() {
        for (device, topic) in topics::topics_among(conn, devices, &marks.unknown).await? {
            marks.add(&[device], rules.bits(topic));
        }
    }
    Ok(marks.bits)
}

/// The bits of devices while they are collected.
struct Marks<'a> {
    /// Ascending, each once.
    devices: &'a [DeviceId],
    bits: Vec<TopicBits>,
    /// Topics that not all devices are known to have, or not to have.
    unknown: Vec<TopicId>,
}

impl Marks<'_> {
    /// Adds the topics of which all subscribers up to the last device were read.
    fn add_complete(&mut self, read: &[TopicSubscribers], rules: &TopicRules) {
        let Some(last) = self.devices.last() else { return };
        let mut complete = HashSet::new();
        for topic in read.iter().filter(|topic| topic.reach >= *last) {
            self.add(&topic.devices, rules.bits(topic.topic));
            complete.insert(topic.topic);
        }
        self.unknown.retain(|topic| !complete.contains(topic));
    }

    /// Adds bits to those devices that are among `subscribers`, which are ascending.
    fn add(&mut self, subscribers: &[DeviceId], bits: TopicBits) {
        let mut at = 0;
        for subscriber in subscribers {
            // Neighbours need no search.
            if self.devices.get(at).is_some_and(|device| device < subscriber) {
                at += self.devices[at..].partition_point(|device| device < subscriber);
            }
            match self.devices.get(at) {
                Some(device) if device == subscriber => {
                    self.bits[at] |= bits;
                    at += 1;
                }
                Some(_) => {}
                None => return,
            }
        }
    }
}
