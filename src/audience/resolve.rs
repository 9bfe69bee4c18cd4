//! Finding the devices of an audience that are named by id, user or token. The API calls it before a notification is
//! stored.

use std::collections::{BTreeMap, HashSet};

use tokio::time::Instant;

use super::lookup::{DeviceLookup, FoundDevices, LookupKeys};
use super::selector::{AddressedToken, Audience, Names};
use super::sorted;
use super::target_set::TargetSet;
use crate::domain::{App, DeviceId, Kind, Target, TopicName, UserId};
use crate::store;
use crate::store::SessionPool;
use crate::store::devices::{Addressed, NewToken, TokenKey};
use crate::store::tokens::LoadedDevices;

/// Attempts to insert tokens that other transactions insert and delete meanwhile. After the last one the request fails
/// as contended.
const INSERT_ATTEMPTS: usize = 5;

/// The targets of an audience, without those of its fan-out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Resolved {
    /// Ascending by device, each device once.
    pub targets: Vec<Target>,
    /// The devices already loaded, when there are at most 100: an attempt that begins soon does not read them again.
    pub loaded: Option<LoadedDevices>,
    /// Users without a device that became a target, in the order given.
    pub unmatched_users: Vec<UserId>,
    /// Device ids that do not exist, as written, in the order given.
    pub unmatched_devices: Vec<String>,
}

/// Finds the named devices of an audience, for a notification that needs APNs tokens of `kind`. Unknown tokens become
/// devices and stay so, whatever becomes of the notification.
///
/// # Errors
/// Postgres is out of reach, or other transactions kept changing the same tokens. Devices may have been made.
pub async fn resolve(
    lookup: &DeviceLookup,
    app: &App,
    audience: &Audience,
    kind: Kind,
) -> Result<Resolved, store::Error> {
    let at = Instant::now();
    let Names { devices, users, tokens } = audience.names();
    let tokens = distinct_tokens(audience, tokens);
    let keys = LookupKeys {
        ids: sorted(devices.into_iter()),
        tokens: tokens.keys().copied().collect(),
        users: sorted(users.into_iter()),
    };
    let mut targets = TargetSet::new(app, audience, kind);
    if keys.is_empty() {
        return Ok(targets.into_resolved(&HashSet::new(), at));
    }
    let mut found = lookup.look_up(app.id, keys).await?;
    if found.by_token.len() < tokens.len() {
        insert_missing(lookup.pool(), app, &tokens, kind, &mut found.by_token).await?;
    }
    if !audience.except_topics.is_empty() {
        targets.leave_out(with_topics(lookup.pool(), app, &found, &audience.except_topics).await?);
    }
    for device in found.by_token {
        let token = tokens.get(&(device.loaded.platform, device.digest));
        targets.add_explicit(device, token.and_then(|token| token.reference.clone()));
    }
    let known_ids = found.by_id.iter().map(|device| device.loaded.device).collect();
    for device in found.by_id {
        targets.add_explicit(device, None);
    }
    for device in found.by_user {
        targets.add_of_user(device);
    }
    let unmarked = targets.take_devices_to_mark_sent();
    if !unmarked.is_empty() {
        store::devices::mark_sent(&mut lookup.pool().acquire().await?, &unmarked).await?;
    }
    Ok(targets.into_resolved(&known_ids, at))
}

/// The found devices that have any of these topics, by a subscription of their own or of their user.
async fn with_topics(
    pool: &SessionPool,
    app: &App,
    found: &FoundDevices,
    topics: &[TopicName],
) -> Result<HashSet<DeviceId>, store::Error> {
    let mut conn = pool.acquire().await?;
    let topics = store::topics::ids_of(&mut conn, app.id, topics).await?;
    if topics.is_empty() {
        return Ok(HashSet::new());
    }
    let devices =
        || found.by_id.iter().chain(&found.by_token).chain(&found.by_user).map(|found| &found.loaded);
    let ids = sorted(devices().map(|device| device.device));
    let users = sorted(devices().filter_map(|device| device.user.clone()));
    let own = store::topics::topics_among(&mut conn, &ids, &topics).await?;
    let of_users = store::topics::user_topics_among(&mut conn, app.id, &users, &topics).await?;
    let users: HashSet<UserId> = of_users.into_iter().map(|(user, _)| user).collect();
    let bound = devices().filter(|device| device.user.as_ref().is_some_and(|user| users.contains(user)));
    Ok(own.into_iter().map(|(device, _)| device).chain(bound.map(|device| device.device)).collect())
}

/// Tokens by platform and digest, in the order in which their rows may be locked.
type TokensByKey<'a> = BTreeMap<TokenKey, &'a AddressedToken>;

/// The tokens of the platforms that the audience includes. Of a token that is named twice the first mention counts.
fn distinct_tokens<'a>(audience: &Audience, tokens: Vec<&'a AddressedToken>) -> TokensByKey<'a> {
    let mut distinct = TokensByKey::new();
    for token in tokens {
        if audience.includes(token.platform) {
            distinct.entry((token.platform, token.token.digest())).or_insert(token);
        }
    }
    distinct
}

/// Makes devices of the tokens that have none, and adds them to `found`. The rows are inserted in the order of their
/// keys and in a transaction of their own (docs/queue.md#lock-order).
async fn insert_missing(
    pool: &SessionPool,
    app: &App,
    tokens: &TokensByKey<'_>,
    kind: Kind,
    found: &mut Vec<Addressed>,
) -> Result<(), store::Error> {
    let mut missing = tokens.clone();
    for device in found.iter() {
        missing.remove(&(device.loaded.platform, device.digest));
    }
    let mut take = |missing: &mut TokensByKey<'_>, devices: Vec<Addressed>| {
        for device in devices {
            if missing.remove(&(device.loaded.platform, device.digest)).is_some() {
                found.push(device);
            }
        }
    };
    let mut conn = pool.acquire().await?;
    for _ in 0..INSERT_ATTEMPTS {
        let new: Vec<NewToken> = missing.values().map(|token| new_token(app, token, kind)).collect();
        take(&mut missing, store::devices::insert_sent(&mut conn, app.id, &new).await?);
        if missing.is_empty() {
            return Ok(());
        }
        // Another transaction has made these devices meanwhile.
        let keys: Vec<TokenKey> = missing.keys().copied().collect();
        take(&mut missing, store::devices::addressed_tokens(&mut conn, app.id, &keys).await?);
        if missing.is_empty() {
            return Ok(());
        }
    }
    Err(store::Error::Contended)
}

/// A token without a stated kind gets the kind that the notification needs: with another kind it could not be sent to.
fn new_token(app: &App, token: &AddressedToken, kind: Kind) -> NewToken {
    NewToken {
        platform: token.platform,
        environment: token.environment.or_else(|| app.environment_of(token.platform, &token.token)),
        kind: if token.platform.has_kinds() { token.kind.unwrap_or(kind) } else { Kind::Alert },
        token: token.token.clone(),
    }
}
