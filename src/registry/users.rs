//! What a user has: devices and topics. A user exists as long as it has one of them.

use super::device_list::list;
use super::devices::DeviceWithTopics;
use crate::domain::{AppId, DeviceId, TopicName, UserId};
use crate::store;
use crate::store::SessionPool;
use crate::store::devices::DeviceFilter;

/// A user with the first devices that are bound to it, and its topics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UserProfile {
    /// The devices, in the order in which they became known.
    pub devices: Vec<DeviceWithTopics>,
    /// The names of the topics that the user is subscribed to, ascending.
    pub topics: Vec<TopicName>,
}

/// Reads a user with at most `devices_max` devices. None: the app has no device and no subscription of this user.
///
/// # Errors
/// Postgres is out of reach.
pub async fn find(
    pool: &SessionPool,
    app: AppId,
    user: &UserId,
    devices_max: usize,
) -> Result<Option<UserProfile>, store::Error> {
    let filter = DeviceFilter { users: Some(vec![user.clone()]), ..DeviceFilter::default() };
    let devices = list(pool, app, &filter, DeviceId(0), devices_max).await?.devices;
    let mut conn = pool.acquire().await?;
    let users = std::slice::from_ref(user);
    let topics = store::topics::of_users(&mut conn, app, users).await?.remove(user).unwrap_or_default();
    let is_known = !devices.is_empty() || !topics.is_empty();
    Ok(is_known.then_some(UserProfile { devices, topics }))
}
