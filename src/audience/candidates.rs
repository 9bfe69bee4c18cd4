//! Where a page of a fan-out looks for its devices: among the first subscribers of a few topics ([`super::topic_cover`]), or
//! among the next active devices, whichever reaches further.

use std::collections::{BTreeSet, HashMap};

use super::page::PageLimits;
use super::topic_cover::{Cover, TopicReach, cover};
use crate::domain::{DeviceId, FanOut, FanOutPart, TopicName};
use crate::store;
use crate::store::Session;
use crate::store::fan_outs::LockedFanOut;
use crate::store::topics::TopicId;
use crate::store::{devices, topics};

/// Beyond all device ids: nothing is left to be read.
pub(super) const END: DeviceId = DeviceId(i64::MAX);
/// The devices of topics that a page reads, as a multiple of those that it may make targets.
const READ_RATIO: usize = 2;
/// Devices of each topic that are read at least, where topics are many.
const READ_MIN: usize = 20;
/// Subscribed users that are counted over all topics, as a multiple of [`PageLimits::users`].
const COUNTED_RATIO: usize = 5;

/// Devices among which those of the page are.
pub(super) struct Candidates {
    /// Ascending, each once.
    pub(super) devices: Vec<DeviceId>,
    /// All devices of the audience up to this one are in `devices`.
    pub(super) reach: DeviceId,
}

/// Devices with a subscription of their own to a topic.
pub(super) struct TopicSubscribers {
    pub(super) topic: TopicId,
    /// In ascending order, as far as they were read.
    pub(super) devices: Vec<DeviceId>,
    /// All subscribers of the page up to this one are in `devices`.
    pub(super) reach: DeviceId,
}

/// Finds the candidates of one page.
pub(super) struct CandidateReader<'a> {
    pub(super) conn: &'a mut Session,
    pub(super) fan_out: &'a LockedFanOut,
    pub(super) audience: &'a FanOut,
    pub(super) limits: PageLimits,
    /// The topics of the audience that exist.
    pub(super) ids: &'a HashMap<TopicName, TopicId>,
    /// How many users have a topic, for those that users have. Each is counted up to one more than
    /// [`users_of_topic_max`].
    pub(super) users: &'a HashMap<TopicId, usize>,
}

impl CandidateReader<'_> {
    /// Finds devices of the topics that lead furthest, or the next active devices if those lead further. Returns the subscribers
    /// too that were read on the way.
    pub(super) async fn read(mut self) -> Result<(Candidates, Vec<TopicSubscribers>), store::Error> {
        let mut subscribers = match self.audience.parts.contains(&FanOutPart::All) {
            true => Vec::new(),
            false => self.first_subscribers().await?,
        };
        let candidates = match self.of_topics(&mut subscribers).await? {
            Some(some) if some.reach == END || some.devices.len() >= self.limits.devices / 2 => some,
            from_topics => {
                let active = self.next_active().await?;
                from_topics.filter(|some| some.reach >= active.reach).unwrap_or(active)
            }
        };
        Ok((candidates, subscribers))
    }

    async fn next_active(&mut self) -> Result<Candidates, store::Error> {
        let (size, range) = (self.limits.devices, (self.fan_out.reached, self.fan_out.last));
        let devices = devices::next_active(self.conn, self.fan_out.app, range, sql_limit(size)).await?;
        let reach = reach(&devices, size);
        Ok(Candidates { devices, reach })
    }

    async fn first_subscribers(&mut self) -> Result<Vec<TopicSubscribers>, store::Error> {
        let (topics, range) = (numbers(self.ids), (self.fan_out.reached, self.fan_out.last));
        first_subscribers(self.conn, &topics, range, self.read_max(topics.len())).await
    }

    /// Subscribers of each of so many topics that are read at most.
    fn read_max(&self, topics: usize) -> usize {
        let size = self.limits.devices;
        (READ_RATIO * size / topics.max(1)).clamp(READ_MIN.min(size), size)
    }

    /// None: the audience has devices that no topic leads to, or topics of too many users.
    async fn of_topics(
        &mut self,
        subscribers: &mut Vec<TopicSubscribers>,
    ) -> Result<Option<Candidates>, store::Error> {
        let Some(mut cover) = self.cover(subscribers) else { return Ok(None) };
        let subscribed = cover.topics.iter().filter_map(|topic| self.users.get(topic)).sum::<usize>();
        if subscribed > self.limits.users {
            return Ok(None);
        }
        if cover.reach < END && self.read_max(cover.topics.len()) > self.read_max(self.ids.len()) {
            self.read_on(&mut cover, subscribers).await?;
        }
        let mut candidates = Candidates::of_cover(subscribers, &cover);
        if subscribed > 0 {
            self.add_through_users(&mut candidates, &cover.topics).await?;
        }
        candidates.truncate(self.limits.devices);
        Ok(Some(candidates))
    }

    fn cover(&self, subscribers: &[TopicSubscribers]) -> Option<Cover> {
        let users_max = users_of_topic_max(self.limits, self.ids.len());
        let reaches: HashMap<TopicId, DeviceId> = subscribers
            .iter()
            .filter(|read| self.users.get(&read.topic).is_none_or(|users| *users <= users_max))
            .map(|read| (read.topic, read.reach))
            .collect();
        cover(self.audience, &|name| match self.ids.get(name) {
            Some(id) => TopicReach { topic: Some(*id), device: reaches.get(id).copied() },
            None => TopicReach { topic: None, device: Some(END) },
        })
    }

    /// Reads more subscribers of the topics of a cover, where these are fewer than the topics of the audience.
    async fn read_on(
        &mut self,
        cover: &mut Cover,
        subscribers: &mut Vec<TopicSubscribers>,
    ) -> Result<(), store::Error> {
        let topics: Vec<TopicId> = cover.topics.iter().copied().collect();
        let range = (self.fan_out.reached, self.fan_out.last);
        let read = first_subscribers(self.conn, &topics, range, self.read_max(topics.len())).await?;
        cover.reach = read.iter().map(|read| read.reach).min().unwrap_or(END);
        subscribers.retain(|read| !cover.topics.contains(&read.topic));
        subscribers.extend(read);
        Ok(())
    }

    async fn add_through_users(
        &mut self,
        candidates: &mut Candidates,
        topics: &BTreeSet<TopicId>,
    ) -> Result<(), store::Error> {
        let topics: Vec<TopicId> = topics.iter().copied().collect();
        let (app, size, range) =
            (self.fan_out.app, self.limits.devices, (self.fan_out.reached, self.fan_out.last));
        let bound = topics::first_through_users(self.conn, app, &topics, range, sql_limit(size)).await?;
        candidates.reach = candidates.reach.min(reach(&bound, size));
        candidates.devices = super::sorted(candidates.devices.drain(..).chain(bound));
        Ok(())
    }
}

impl Candidates {
    /// The subscribers of the topics of a cover, as far as it reaches.
    fn of_cover(subscribers: &[TopicSubscribers], cover: &Cover) -> Self {
        let lists = subscribers.iter().filter(|read| cover.topics.contains(&read.topic));
        let within =
            |read: &'_ TopicSubscribers| read.devices.partition_point(|device| *device <= cover.reach);
        let mut lists = lists.map(|read| &read.devices[..within(read)]);
        let devices = match (lists.next(), lists.next()) {
            (Some(only), None) => only.to_vec(),
            (first, second) => super::sorted(first.into_iter().chain(second).chain(lists).flatten().copied()),
        };
        Self { devices, reach: cover.reach }
    }

    /// Keeps at most `size` devices, and none beyond the reach.
    fn truncate(&mut self, size: usize) {
        let within = self.devices.partition_point(|device| *device <= self.reach);
        self.devices.truncate(within);
        if self.devices.len() > size {
            self.devices.truncate(size);
            self.reach = self.devices.last().copied().unwrap_or(END);
        }
    }
}

/// With more users a topic is not looked up by its users, if the audience has so many topics.
pub(super) fn users_of_topic_max(limits: PageLimits, topics: usize) -> usize {
    (COUNTED_RATIO * limits.users / topics.max(1)).max(READ_MIN).min(limits.users)
}

/// The first subscribers of each topic in a range, at most `limit`.
pub(super) async fn first_subscribers(
    conn: &mut Session,
    topics: &[TopicId],
    range: (DeviceId, DeviceId),
    limit: usize,
) -> Result<Vec<TopicSubscribers>, store::Error> {
    let first = topics::first_subscribers(conn, topics, range, sql_limit(limit)).await?;
    let read = first.into_iter().map(|first| {
        let reach = reach(&first.devices, limit);
        TopicSubscribers { topic: first.topic, devices: first.devices, reach }
    });
    Ok(read.collect())
}

/// How far the first devices of a longer list reach, if at most `limit` of them were read.
fn reach(first: &[DeviceId], limit: usize) -> DeviceId {
    first.last().filter(|_| first.len() >= limit).copied().unwrap_or(END)
}

pub(super) fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// The row numbers of topics, ascending.
pub(super) fn numbers(ids: &HashMap<TopicName, TopicId>) -> Vec<TopicId> {
    let mut numbers: Vec<TopicId> = ids.values().copied().collect();
    numbers.sort_unstable();
    numbers
}
