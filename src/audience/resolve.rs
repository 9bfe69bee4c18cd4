//! Finding the devices of an audience that are named by id, user or token. The API calls it before a notification is
//! stored.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use tokio::time::Instant;

use super::lookup::{DeviceLookup, FoundDevices, LookupKeys};
use super::selector::{AddressedToken, Audience, Names};
use super::sorted;
use super::target_set::TargetSet;
use crate::domain::{App, DeviceId, Kind, References, Target, TopicName, UserId};
use crate::store;
use crate::store::SessionPool;
use crate::store::devices::{Addressed, NewToken, TokenKey};
use crate::store::tokens::{LoadedDevice, LoadedDevices};

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
    let all = resolve_all(lookup, app, &[(audience, kind)]).await?;
    Ok(all.into_iter().next().unwrap_or_default())
}

/// As [`resolve`], for several notifications of one app, by as few statements as for one. The order stays.
///
/// # Errors
/// As of [`resolve`]. The cause may lie with one audience alone.
pub async fn resolve_all(
    lookup: &DeviceLookup,
    app: &App,
    wanted: &[(&Audience, Kind)],
) -> Result<Vec<Resolved>, store::Error> {
    let at = Instant::now();
    let (tokens, keys): (Vec<_>, Vec<_>) = wanted.iter().map(|(audience, _)| named(audience)).unzip();
    let mut found = lookup.look_up_each(app.id, keys).await?;
    let missing = missing_tokens(wanted, &tokens, &found);
    if !missing.is_empty() {
        let made = insert(lookup.pool(), app, missing).await?;
        for (tokens, found) in tokens.iter().zip(&mut found) {
            found.by_token.extend(tokens.keys().filter_map(|key| made.get(key)).cloned());
        }
    }
    let left_out = left_out(lookup.pool(), app, wanted, &found).await?;
    let (mut resolved, mut unmarked) = (Vec::with_capacity(wanted.len()), Vec::new());
    for (((audience, kind), tokens), found) in wanted.iter().zip(tokens).zip(found) {
        let mut targets = TargetSet::new(app, audience, *kind);
        if let Some(devices) = left_out.get(&audience.except_topics) {
            targets.leave_out(devices.iter().copied());
        }
        let known_ids = add(&mut targets, tokens, found);
        unmarked.extend(targets.take_devices_to_mark_sent());
        resolved.push(targets.into_resolved(&known_ids, at));
    }
    if !unmarked.is_empty() {
        let unmarked = sorted(unmarked.into_iter());
        store::devices::mark_sent(&mut lookup.pool().acquire().await?, &unmarked).await?;
    }
    Ok(resolved)
}

/// The found devices that have topics that an audience leaves out, by these topics. Audiences often leave out the same
/// ones, which are looked up once.
async fn left_out<'a>(
    pool: &SessionPool,
    app: &App,
    wanted: &[(&'a Audience, Kind)],
    found: &[FoundDevices],
) -> Result<HashMap<&'a Vec<TopicName>, HashSet<DeviceId>>, store::Error> {
    let mut by_topics: HashMap<&Vec<TopicName>, Vec<&LoadedDevice>> = HashMap::new();
    for ((audience, _), found) in
        wanted.iter().zip(found).filter(|((audience, _), _)| !audience.except_topics.is_empty())
    {
        let found = found.by_id.iter().chain(&found.by_token).chain(&found.by_user);
        by_topics.entry(&audience.except_topics).or_default().extend(found.map(|found| &found.loaded));
    }
    let mut left_out = HashMap::with_capacity(by_topics.len());
    for (topics, devices) in by_topics {
        left_out.insert(topics, with_topics(pool, app, &devices, topics).await?);
    }
    Ok(left_out)
}

/// Those of the devices that have any of these topics, by a subscription of their own or of their user.
async fn with_topics(
    pool: &SessionPool,
    app: &App,
    devices: &[&LoadedDevice],
    topics: &[TopicName],
) -> Result<HashSet<DeviceId>, store::Error> {
    let mut conn = pool.acquire().await?;
    let topics = store::topics::ids_of(&mut conn, app.id, topics).await?;
    if topics.is_empty() {
        return Ok(HashSet::new());
    }
    let ids = sorted(devices.iter().map(|device| device.device));
    let users = sorted(devices.iter().filter_map(|device| device.user.clone()));
    let own = store::topics::topics_among(&mut conn, &ids, &topics).await?;
    let of_users = store::topics::user_topics_among(&mut conn, app.id, &users, &topics).await?;
    let users: HashSet<UserId> = of_users.into_iter().map(|(user, _)| user).collect();
    let bound = devices.iter().filter(|device| device.user.as_ref().is_some_and(|user| users.contains(user)));
    Ok(own.into_iter().map(|(device, _)| device).chain(bound.map(|device| device.device)).collect())
}

/// The number of targets that an audience has at this moment. Nothing is stored: an unknown token counts as the device that
/// it would become. None: the audience is found page by page.
///
/// # Errors
/// Postgres is out of reach.
pub async fn count_targets(
    lookup: &DeviceLookup,
    app: &App,
    audience: &Audience,
    kind: Kind,
) -> Result<Option<usize>, store::Error> {
    if audience.is_paged() {
        return Ok(None);
    }
    let (tokens, keys) = named(audience);
    let found = lookup.look_up_each(app.id, vec![keys]).await?;
    let wanted = [(audience, kind)];
    let unknown = missing_tokens(&wanted, std::slice::from_ref(&tokens), &found).len();
    let left_out = left_out(lookup.pool(), app, &wanted, &found).await?;
    let mut targets = TargetSet::new(app, audience, kind);
    targets.leave_out(left_out.into_values().flatten());
    for found in found {
        add(&mut targets, tokens.clone(), found);
    }
    Ok(Some(targets.len() + unknown + audience.rejected_targets().count()))
}

/// Adds the devices that were found. Returns those that were found by their ids.
fn add(targets: &mut TargetSet<'_>, mut tokens: TokensByKey<'_>, found: FoundDevices) -> HashSet<DeviceId> {
    for device in found.by_token {
        let token = tokens.remove(&device.token_key());
        targets.add_explicit(device, token.map(|token| token.references).unwrap_or_default());
    }
    let known_ids = found.by_id.iter().map(|device| device.loaded.device).collect();
    for device in found.by_id {
        targets.add_explicit(device, References::default());
    }
    for device in found.by_user {
        targets.add_of_user(device);
    }
    known_ids
}

/// A token of an audience, with the sender's names for each mention of it.
#[derive(Clone)]
struct NamedToken<'a> {
    /// The first mention.
    token: &'a AddressedToken,
    references: References,
}

/// Tokens by platform and digest, in the order in which their rows may be locked.
type TokensByKey<'a> = BTreeMap<TokenKey, NamedToken<'a>>;

/// The tokens of an audience, and the keys that find its devices.
fn named(audience: &Audience) -> (TokensByKey<'_>, LookupKeys) {
    let Names { devices, users, tokens } = audience.names();
    let tokens = distinct_tokens(audience, tokens);
    let keys = LookupKeys {
        ids: sorted(devices.into_iter()),
        tokens: tokens.keys().copied().collect(),
        users: sorted(users.into_iter()),
    };
    (tokens, keys)
}

/// The tokens of the platforms that the audience includes.
fn distinct_tokens<'a>(audience: &Audience, tokens: Vec<&'a AddressedToken>) -> TokensByKey<'a> {
    let mut distinct = TokensByKey::new();
    for token in tokens.into_iter().filter(|token| audience.includes(token.platform)) {
        let references = References::from(token.reference.clone());
        match distinct.entry((token.platform, token.token.digest())) {
            Entry::Vacant(entry) => drop(entry.insert(NamedToken { token, references })),
            Entry::Occupied(mut entry) => entry.get_mut().references.merge(references),
        }
    }
    distinct
}

/// Tokens without a device, with the kind that their notification needs. Of a token that several audiences name the first
/// mention counts.
type MissingTokens<'a> = BTreeMap<TokenKey, (&'a AddressedToken, Kind)>;

fn missing_tokens<'a>(
    wanted: &[(&Audience, Kind)],
    tokens: &[TokensByKey<'a>],
    found: &[FoundDevices],
) -> MissingTokens<'a> {
    let mut missing = MissingTokens::new();
    for (((_, kind), tokens), found) in wanted.iter().zip(tokens).zip(found) {
        if found.by_token.len() == tokens.len() {
            continue;
        }
        let known: HashSet<TokenKey> = found.by_token.iter().map(Addressed::token_key).collect();
        for (key, named) in tokens.iter().filter(|(key, _)| !known.contains(key)) {
            missing.entry(*key).or_insert((named.token, *kind));
        }
    }
    missing
}

/// Makes devices of tokens that have none. The rows are inserted in the order of their keys and in a transaction of their
/// own (docs/queue.md#lock-order).
async fn insert(
    pool: &SessionPool,
    app: &App,
    mut missing: MissingTokens<'_>,
) -> Result<HashMap<TokenKey, Addressed>, store::Error> {
    let mut made = HashMap::with_capacity(missing.len());
    let mut take = |missing: &mut MissingTokens<'_>, devices: Vec<Addressed>| {
        for device in devices {
            if missing.remove(&device.token_key()).is_some() {
                made.insert(device.token_key(), device);
            }
        }
    };
    let mut conn = pool.acquire().await?;
    for _ in 0..INSERT_ATTEMPTS {
        let new: Vec<NewToken> = missing.values().map(|(token, kind)| new_token(app, token, *kind)).collect();
        take(&mut missing, store::devices::insert_sent(&mut conn, app.id, &new).await?);
        if missing.is_empty() {
            return Ok(made);
        }
        // Another transaction has made these devices meanwhile.
        let keys: Vec<TokenKey> = missing.keys().copied().collect();
        take(&mut missing, store::devices::addressed_tokens(&mut conn, app.id, &keys).await?);
        if missing.is_empty() {
            return Ok(made);
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
