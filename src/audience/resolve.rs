//! Finding the devices of an audience that are named by id, user or token. The API calls it before a notification is
//! stored.

use std::collections::{HashMap, HashSet};

use tokio::time::Instant;

use super::lookup::{self, DeviceLookup, FoundDevices, LookupKeys};
use super::selector::{Audience, Names};
use super::sorted;
use super::target_set::TargetSet;
use super::tokens::{self, TokensByKey};
use crate::domain::{App, DeviceId, Kind, References, Target, TopicName, UserId};
use crate::store;
use crate::store::tokens::{LoadedDevice, LoadedDevices};
use crate::store::{Session, SessionPool};

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
    tokens::make_missing(lookup.pool(), app, wanted, &tokens, &mut found).await?;
    let left_out = left_out_by_pool(lookup.pool(), app, wanted, &found).await?;
    let (resolved, unmarked) = collect(app, wanted, tokens, found, &left_out, at);
    if !unmarked.is_empty() {
        store::devices::mark_sent(&mut lookup.pool().acquire().await?, &unmarked).await?;
    }
    Ok(resolved)
}

/// As [`resolve_all`], for audiences that name no tokens, over one connection.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub(super) async fn resolve_without_tokens(
    conn: &mut Session,
    app: &App,
    wanted: &[(&Audience, Kind)],
) -> Result<Vec<Resolved>, store::Error> {
    let at = Instant::now();
    let (tokens, keys): (Vec<_>, Vec<_>) = wanted.iter().map(|(audience, _)| named(audience)).unzip();
    let found = lookup::look_up_over(conn, app.id, &keys).await?;
    let left_out = left_out(conn, app, wanted, &found).await?;
    let (resolved, unmarked) = collect(app, wanted, tokens, found, &left_out, at);
    if !unmarked.is_empty() {
        store::devices::mark_sent(conn, &unmarked).await?;
    }
    Ok(resolved)
}

/// The devices that audiences leave out because of their topics, by these topics.
type LeftOut<'a> = HashMap<&'a Vec<TopicName>, HashSet<DeviceId>>;

/// The targets of each audience, and the devices of all of them that are to be marked as sent: ascending, each once.
fn collect(
    app: &App,
    wanted: &[(&Audience, Kind)],
    tokens: Vec<TokensByKey<'_>>,
    found: Vec<FoundDevices>,
    left_out: &LeftOut<'_>,
    at: Instant,
) -> (Vec<Resolved>, Vec<DeviceId>) {
    let (mut resolved, mut unmarked) = (Vec::with_capacity(wanted.len()), Vec::new());
    for (((audience, kind), tokens), found) in wanted.iter().zip(tokens).zip(found) {
        let mut targets = TargetSet::new(app, audience, *kind);
        if let Some(devices) = left_out.get(&audience.except_topics) {
            targets.leave_out(devices.iter().copied());
        }
        let known_ids = add(&mut targets, audience, tokens, found);
        unmarked.extend(targets.take_devices_to_mark_sent());
        resolved.push(targets.into_resolved(&known_ids, at));
    }
    (resolved, sorted(unmarked.into_iter()))
}

/// The found devices that have topics that an audience leaves out, by these topics. Audiences often leave out the same
/// ones, which are looked up once.
async fn left_out<'a>(
    conn: &mut Session,
    app: &App,
    wanted: &[(&'a Audience, Kind)],
    found: &[FoundDevices],
) -> Result<LeftOut<'a>, store::Error> {
    let mut by_topics: HashMap<&Vec<TopicName>, Vec<&LoadedDevice>> = HashMap::new();
    for ((audience, _), found) in
        wanted.iter().zip(found).filter(|((audience, _), _)| !audience.except_topics.is_empty())
    {
        let found = found.by_id.iter().chain(&found.by_token).chain(&found.by_user);
        by_topics.entry(&audience.except_topics).or_default().extend(found.map(|found| &found.loaded));
    }
    let mut left_out = HashMap::with_capacity(by_topics.len());
    for (topics, devices) in by_topics {
        left_out.insert(topics, with_topics(conn, app, &devices, topics).await?);
    }
    Ok(left_out)
}

/// As [`left_out`], over a connection of the pool. Most audiences need none.
async fn left_out_by_pool<'a>(
    pool: &SessionPool,
    app: &App,
    wanted: &[(&'a Audience, Kind)],
    found: &[FoundDevices],
) -> Result<LeftOut<'a>, store::Error> {
    match wanted.iter().all(|(audience, _)| audience.except_topics.is_empty()) {
        true => Ok(LeftOut::new()),
        false => left_out(&mut pool.acquire().await?, app, wanted, found).await,
    }
}

/// Those of the devices that have any of these topics, by a subscription of their own or of their user.
async fn with_topics(
    conn: &mut Session,
    app: &App,
    devices: &[&LoadedDevice],
    topics: &[TopicName],
) -> Result<HashSet<DeviceId>, store::Error> {
    let topics = store::topics::ids_of(conn, app.id, topics).await?;
    if topics.is_empty() {
        return Ok(HashSet::new());
    }
    let ids = sorted(devices.iter().map(|device| device.device));
    let users = sorted(devices.iter().filter_map(|device| device.user.clone()));
    let own = store::topics::topics_among(conn, &ids, &topics).await?;
    let of_users = store::topics::user_topics_among(conn, app.id, &users, &topics).await?;
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
    let unknown = tokens::missing(&wanted, std::slice::from_ref(&tokens), &found).len();
    let left_out = left_out_by_pool(lookup.pool(), app, &wanted, &found).await?;
    let mut targets = TargetSet::new(app, audience, kind);
    targets.leave_out(left_out.into_values().flatten());
    for found in found {
        add(&mut targets, audience, tokens.clone(), found);
    }
    Ok(Some(targets.len() + unknown + audience.rejected_targets().count()))
}

/// Adds the devices that were found. Returns those that were found by their ids.
fn add(
    targets: &mut TargetSet<'_>,
    audience: &Audience,
    mut tokens: TokensByKey<'_>,
    found: FoundDevices,
) -> HashSet<DeviceId> {
    for device in found.by_token {
        let token = tokens.remove(&device.token_key());
        targets.add_explicit(device, token.map(|token| token.references).unwrap_or_default());
    }
    let known_ids: HashSet<DeviceId> = found.by_id.iter().map(|device| device.loaded.device).collect();
    let mut references: HashMap<DeviceId, &References> = HashMap::new();
    for token in audience.token_devices() {
        match known_ids.contains(&token.device) {
            true => drop(references.insert(token.device, &token.references)),
            false => targets.add_gone(token),
        }
    }
    for device in found.by_id {
        let references = references.remove(&device.loaded.device).cloned().unwrap_or_default();
        targets.add_explicit(device, references);
    }
    for device in found.by_user {
        targets.add_of_user(device);
    }
    known_ids
}

/// The tokens of an audience, and the keys that find its devices.
fn named(audience: &Audience) -> (TokensByKey<'_>, LookupKeys) {
    let Names { devices, users, tokens } = audience.names();
    let tokens = tokens::distinct(audience, tokens);
    let keys = LookupKeys {
        ids: sorted(devices.into_iter()),
        tokens: tokens.keys().copied().collect(),
        users: sorted(users.into_iter()),
    };
    (tokens, keys)
}
