//! One page of a fan-out: finds its devices and writes their jobs (docs/queue.md#pages-of-topics).
//!
//! What a page reads is bounded, however large the topics are. It looks for devices among the subscribers of a few topics
//! ([`super::topic_cover`]), or among all active devices where those reach further, and judges each by its topics
//! ([`super::topic_rules`]).

use std::collections::{BTreeSet, HashMap};

use super::topic_cover::{TopicReach, cover};
use super::topic_rules::{Membership, TopicBits, TopicRules};
use crate::domain::{DeviceId, FanOut, FanOutPart, LaneId, LaneKey, TopicName, UserId};
use crate::store;
use crate::store::Session;
use crate::store::fan_outs::{self, LockedFanOut, PageDevices};
use crate::store::topics::{FirstSubscribers, TopicId};
use crate::store::{devices, topics};

/// Beyond all device ids: nothing is left to be read.
const END: DeviceId = DeviceId(i64::MAX);
/// The devices of topics that a page reads, as a multiple of those that it may make targets.
const READ_RATIO: usize = 2;
/// Devices of each topic that are read at least, where topics are many.
const READ_MIN: usize = 20;
/// Subscribed users that are counted over all topics, as a multiple of [`PageLimits::users`].
const COUNTED_RATIO: usize = 5;

/// What bounds the work of one page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageLimits {
    /// Devices that become targets at most.
    pub devices: usize,
    /// If more users are subscribed to the topics of the page, their devices are not looked for. The page walks over active
    /// devices instead, and judges them by their users.
    pub users: usize,
}

impl PageLimits {
    /// As the service works.
    pub const DEFAULT: Self = Self { devices: 10_000, users: 20_000 };
}

/// What one page has written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrittenPage {
    /// Number of devices that became targets.
    pub found: i64,
    /// The lanes that got jobs.
    pub lanes: Vec<LaneId>,
    /// All devices up to this one have been looked at. None: all of the audience.
    pub reached: Option<DeviceId>,
}

/// Why a page was not written.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// Postgres is out of reach, or a row holds an unknown value.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The audience tells more topics apart than a page can. No version of Pushpost accepts such a request.
    #[error("the audience has too many topics")]
    TooManyTopics,
}

/// Devices among which those of the page are.
struct Candidates {
    /// Ascending, each once.
    devices: Vec<DeviceId>,
    /// All devices of the audience up to this one are in `devices`.
    reach: DeviceId,
    /// Subscriptions of the devices themselves: those to the topics of `known`.
    subscriptions: Vec<(DeviceId, TopicId)>,
    known: BTreeSet<TopicId>,
}

/// Writes the jobs of the next page of a locked fan-out.
///
/// # Errors
/// See [`PageError`]. The transaction must be rolled back.
pub async fn write_page(
    conn: &mut Session,
    fan_out: &LockedFanOut,
    audience: &FanOut,
    lanes: &[(LaneKey, LaneId)],
    limits: PageLimits,
) -> Result<WrittenPage, PageError> {
    let limit = sql_limit(limits.devices);
    if audience.parts.contains(&FanOutPart::All) && audience.except_topics.is_empty() {
        let page = fan_outs::write_page(conn, fan_out, audience, lanes, PageDevices::Next(limit)).await?;
        let reached = page.reached.filter(|reached| page.seen == limit && *reached < fan_out.last);
        return Ok(WrittenPage { found: page.found, lanes: page.lanes, reached });
    }
    let mut reader = PageReader { conn, fan_out, audience, limits };
    let names: Vec<TopicName> = audience.topics().into_iter().cloned().collect();
    let ids = topics::ids_by_name(reader.conn, fan_out.app, &names).await?;
    let rules = TopicRules::new(audience, &ids).ok_or(PageError::TooManyTopics)?;
    let users =
        topics::user_counts(reader.conn, &numbers(&ids), sql_limit(reader.users_of_topic_max(ids.len()) + 1))
            .await?;
    let candidates = reader.candidates(&ids, &users).await?;
    let (found, through_users) = reader.members(&candidates, &rules, &ids, !users.is_empty()).await?;
    let reached = Some(candidates.reach).filter(|reach| *reach < fan_out.last);
    if found.is_empty() {
        return Ok(WrittenPage { found: 0, lanes: Vec::new(), reached });
    }
    let devices = PageDevices::Found { devices: &found, through_users: &through_users };
    let page = fan_outs::write_page(reader.conn, fan_out, audience, lanes, devices).await?;
    Ok(WrittenPage { found: page.found, lanes: page.lanes, reached })
}

struct PageReader<'a> {
    conn: &'a mut Session,
    fan_out: &'a LockedFanOut,
    audience: &'a FanOut,
    limits: PageLimits,
}

impl PageReader<'_> {
    /// With more users a topic is not looked up by its users, if the audience has so many topics.
    fn users_of_topic_max(&self, topics: usize) -> usize {
        (COUNTED_RATIO * self.limits.users / topics.max(1)).max(READ_MIN).min(self.limits.users)
    }

    /// Finds the candidates: devices of the topics that lead furthest, or the next active devices if those lead further.
    async fn candidates(
        &mut self,
        ids: &HashMap<TopicName, TopicId>,
        users: &HashMap<TopicId, usize>,
    ) -> Result<Candidates, store::Error> {
        let Some(from_topics) = self.of_topics(ids, users).await? else { return self.next_active().await };
        if from_topics.reach == END || from_topics.devices.len() >= self.limits.devices / 2 {
            return Ok(from_topics);
        }
        let active = self.next_active().await?;
        Ok(if active.reach > from_topics.reach { active } else { from_topics })
    }

    async fn next_active(&mut self) -> Result<Candidates, store::Error> {
        let (size, range) = (self.limits.devices, (self.fan_out.reached, self.fan_out.last));
        let devices = devices::next_active(self.conn, self.fan_out.app, range, sql_limit(size)).await?;
        let reach = reach(&devices, size);
        Ok(Candidates { devices, reach, subscriptions: Vec::new(), known: BTreeSet::new() })
    }

    /// None: the audience has devices that no topic leads to, or topics of too many users.
    async fn of_topics(
        &mut self,
        ids: &HashMap<TopicName, TopicId>,
        users: &HashMap<TopicId, usize>,
    ) -> Result<Option<Candidates>, store::Error> {
        if self.audience.parts.contains(&FanOutPart::All) {
            return Ok(None);
        }
        let (size, range) = (self.limits.devices, (self.fan_out.reached, self.fan_out.last));
        let limit = (READ_RATIO * size / ids.len().max(1)).clamp(READ_MIN.min(size), size);
        let first = topics::first_subscribers(self.conn, &numbers(ids), range, sql_limit(limit)).await?;
        let users_max = self.users_of_topic_max(ids.len());
        let reaches: HashMap<TopicId, DeviceId> = first
            .iter()
            .filter(|first| users.get(&first.topic).is_none_or(|users| *users <= users_max))
            .map(|first| (first.topic, reach(&first.devices, limit)))
            .collect();
        let cover = cover(self.audience, &|name| match ids.get(name) {
            Some(id) => TopicReach { topic: Some(*id), device: reaches.get(id).copied() },
            None => TopicReach { topic: None, device: Some(END) },
        });
        let Some(cover) = cover else { return Ok(None) };
        let subscribed = cover.topics.iter().filter_map(|topic| users.get(topic)).sum::<usize>();
        if subscribed > self.limits.users {
            return Ok(None);
        }
        let mut candidates = Candidates::among(first, cover.topics, cover.reach);
        if subscribed > 0 {
            self.add_through_users(&mut candidates).await?;
        }
        candidates.truncate(size);
        Ok(Some(candidates))
    }

    async fn add_through_users(&mut self, candidates: &mut Candidates) -> Result<(), store::Error> {
        let topics: Vec<TopicId> = candidates.known.iter().copied().collect();
        let (app, after, size) = (self.fan_out.app, self.fan_out.reached, self.limits.devices);
        let bound = topics::first_through_users(self.conn, app, &topics, after, sql_limit(size)).await?;
        candidates.reach = candidates.reach.min(reach(&bound, size));
        candidates.devices.extend(bound);
        candidates.devices.sort_unstable();
        candidates.devices.dedup();
        Ok(())
    }

    /// The candidates that are in the audience, and of those that are in it because of their users, the users.
    async fn members(
        &mut self,
        candidates: &Candidates,
        rules: &TopicRules,
        ids: &HashMap<TopicName, TopicId>,
        has_users: bool,
    ) -> Result<(Vec<DeviceId>, Vec<(DeviceId, UserId)>), store::Error> {
        let unknown: Vec<TopicId> =
            ids.values().copied().filter(|topic| !candidates.known.contains(topic)).collect();
        let mut own: HashMap<DeviceId, TopicBits> = HashMap::with_capacity(candidates.devices.len());
        let further = match unknown.is_empty() {
            true => Vec::new(),
            false => topics::topics_among(self.conn, &candidates.devices, &unknown).await?,
        };
        for (device, topic) in candidates.subscriptions.iter().chain(&further) {
            *own.entry(*device).or_default() |= rules.bits(*topic);
        }
        let users = match has_users {
            true => self.users_with_topics(candidates, rules, ids).await?,
            false => HashMap::new(),
        };
        let (mut found, mut through_users) = (Vec::new(), Vec::new());
        for device in &candidates.devices {
            let user = users.get(device);
            let of_user = user.map(|(_, bits)| *bits).unwrap_or_default();
            match rules.membership(own.get(device).copied().unwrap_or_default(), of_user) {
                Some(Membership::ThroughUser) => {
                    through_users.extend(user.map(|(user, _)| (*device, user.clone())));
                }
                Some(Membership::Own) => {}
                None => continue,
            }
            found.push(*device);
        }
        Ok((found, through_users))
    }

    /// The users of the candidates, with their topics. Users without topics of the audience are left out.
    async fn users_with_topics(
        &mut self,
        candidates: &Candidates,
        rules: &TopicRules,
        ids: &HashMap<TopicName, TopicId>,
    ) -> Result<HashMap<DeviceId, (UserId, TopicBits)>, store::Error> {
        let bound = devices::users_of(self.conn, &candidates.devices).await?;
        let users = super::sorted(bound.iter().map(|(_, user)| user.clone()));
        let mut bits: HashMap<UserId, TopicBits> = HashMap::with_capacity(users.len());
        for (user, topic) in
            topics::user_topics_among(self.conn, self.fan_out.app, &users, &numbers(ids)).await?
        {
            *bits.entry(user).or_default() |= rules.bits(topic);
        }
        let with_topics = bound.into_iter().filter_map(|(device, user)| {
            let bits = *bits.get(&user)?;
            Some((device, (user, bits)))
        });
        Ok(with_topics.collect())
    }
}

impl Candidates {
    /// The devices of `topics` among the first ones of each topic.
    fn among(first: Vec<FirstSubscribers>, topics: BTreeSet<TopicId>, reach: DeviceId) -> Self {
        let first = first.into_iter().filter(|first| topics.contains(&first.topic));
        let pairs = first.flat_map(|FirstSubscribers { topic, devices }| {
            devices.into_iter().take_while(|device| *device <= reach).map(move |device| (device, topic))
        });
        let subscriptions: Vec<(DeviceId, TopicId)> = pairs.collect();
        let devices = super::sorted(subscriptions.iter().map(|(device, _)| *device));
        Self { devices, reach, subscriptions, known: topics }
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

/// How far the first devices of a longer list reach, if at most `limit` of them were read.
fn reach(first: &[DeviceId], limit: usize) -> DeviceId {
    first.last().filter(|_| first.len() >= limit).copied().unwrap_or(END)
}

fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn numbers(ids: &HashMap<TopicName, TopicId>) -> Vec<TopicId> {
    let mut numbers: Vec<TopicId> = ids.values().copied().collect();
    numbers.sort_unstable();
    numbers
}
