//! One page of a fan-out: finds its devices and writes their jobs (docs/queue.md#pages-of-topics).
//!
//! What a page reads is bounded, however large the topics are. It looks for devices where they are near
//! ([`super::candidates`]), and judges each by its topics ([`super::topic_rules`]).

use std::collections::HashMap;

use super::candidates::{CandidateReader, numbers, sql_limit, users_of_topic_max};
use super::own_topics::own_topics;
use super::topic_rules::{Membership, TopicBits, TopicRules};
use crate::domain::{AppId, DeviceId, FanOut, FanOutPart, LaneId, LaneKey, TopicName, UserId};
use crate::store;
use crate::store::Session;
use crate::store::fan_outs::{self, LockedFanOut, PageDevices};
use crate::store::topics::TopicId;
use crate::store::{devices, topics};

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
    let names: Vec<TopicName> = audience.topics().into_iter().cloned().collect();
    let ids = topics::ids_by_name(conn, fan_out.app, &names).await?;
    let rules = TopicRules::new(audience, &ids).ok_or(PageError::TooManyTopics)?;
    let counted_max = sql_limit(users_of_topic_max(limits, ids.len()) + 1);
    let users = topics::user_counts(conn, &numbers(&ids), counted_max).await?;
    let reader = CandidateReader { conn, fan_out, audience, limits, ids: &ids, users: &users };
    let (candidates, subscribers) = reader.read().await?;
    let own = own_topics(conn, &candidates.devices, &subscribers, &rules, &ids).await?;
    let of_users = topics_of_users(conn, fan_out.app, &candidates.devices, &rules, &users).await?;
    let (found, through_users) = members(&candidates.devices, &own, &of_users, &rules);
    let reached = Some(candidates.reach).filter(|reach| *reach < fan_out.last);
    if found.is_empty() {
        return Ok(WrittenPage { found: 0, lanes: Vec::new(), reached });
    }
    let devices = PageDevices::Found { devices: &found, through_users: &through_users };
    let page = fan_outs::write_page(conn, fan_out, audience, lanes, devices).await?;
    Ok(WrittenPage { found: page.found, lanes: page.lanes, reached })
}

/// The users of these devices, with their topics. Users without topics of the audience are left out.
async fn topics_of_users(
    conn: &mut Session,
    app: AppId,
    devices: &[DeviceId],
    rules: &TopicRules,
    counts: &HashMap<TopicId, usize>,
) -> Result<HashMap<DeviceId, (UserId, TopicBits)>, store::Error> {
    if counts.is_empty() {
        return Ok(HashMap::new());
    }
    let with_users: Vec<TopicId> = counts.keys().copied().collect();
    let bound = devices::users_of(conn, devices).await?;
    let users = super::sorted(bound.iter().map(|(_, user)| user.clone()));
    let mut bits: HashMap<UserId, TopicBits> = HashMap::with_capacity(users.len());
    for (user, topic) in topics::user_topics_among(conn, app, &users, &with_users).await? {
        *bits.entry(user).or_default() |= rules.bits(topic);
    }
    let with_topics = bound.into_iter().filter_map(|(device, user)| {
        let bits = *bits.get(&user)?;
        Some((device, (user, bits)))
    });
    Ok(with_topics.collect())
}

/// The devices that are in the audience, and of those that are in it because of their users, the users. `own` are the topics of the
/// devices, in their order.
fn members(
    devices: &[DeviceId],
    own: &[TopicBits],
    of_users: &HashMap<DeviceId, (UserId, TopicBits)>,
    rules: &TopicRules,
) -> (Vec<DeviceId>, Vec<(DeviceId, UserId)>) {
    let (mut found, mut through_users) = (Vec::with_capacity(devices.len()), Vec::new());
    for (device, own) in devices.iter().zip(own) {
        let user = of_users.get(device);
        match rules.membership(*own, user.map(|(_, bits)| *bits).unwrap_or_default()) {
            Some(Membership::ThroughUser) => {
                through_users.extend(user.map(|(user, _)| (*device, user.clone())));
            }
            Some(Membership::Own) => {}
            None => continue,
        }
        found.push(*device);
    }
    (found, through_users)
}
