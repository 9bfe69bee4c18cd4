//! Who a notification is for: devices, users and tokens become targets, each device once.

mod fan_out;
mod resolver;
mod target_set;

use std::collections::{BTreeMap, HashSet};

use tokio::time::Instant;

pub use self::fan_out::{FanOutWorker, OnJobsAdded};
use self::resolver::Named;
pub use self::resolver::{AudienceResolver, ResolverWorker};
use self::target_set::TargetSet;
use crate::domain::{App, DeviceId, DeviceToken, Environment, FanOut, Kind, Platform, Target, UserId};
use crate::store;
use crate::store::SessionPool;
use crate::store::devices::{Addressed, NewToken, TokenKey};
use crate::store::tokens::LoadedDevices;

/// How often tokens may turn out to be known and then gone again before it is called contention.
const ATTEMPTS: usize = 5;

/// A token in an audience.
#[derive(Clone, Debug)]
pub struct AddressedToken {
    /// The service that issued it.
    pub platform: Platform,
    /// The token.
    pub token: DeviceToken,
    /// Where it belongs, if it isn't known; none: the app's default.
    pub environment: Option<Environment>,
    /// What it is for, if it isn't known; none: what the notification is sent as.
    pub kind: Option<Kind>,
    /// The sender's own word for it.
    pub reference: Option<String>,
}

/// A validated `to`, but for topics and conditions.
#[derive(Clone, Debug, Default)]
pub struct Audience {
    /// As written, and read; none: it can't be an id of this app.
    pub devices: Vec<(String, Option<DeviceId>)>,
    /// All devices of these.
    pub users: Vec<UserId>,
    /// Tokens, known or not.
    pub tokens: Vec<AddressedToken>,
    /// All active devices that were registered or imported: found later, page by page.
    pub all: bool,
    /// Only these services; none: all.
    pub platforms: Option<Vec<Platform>>,
    /// Not the devices of these.
    pub except_users: Vec<UserId>,
    /// Not these.
    pub except_devices: Vec<DeviceId>,
}

impl Audience {
    /// Devices, users and tokens as they were named.
    pub fn named(&self) -> usize {
        self.devices.len() + self.users.len() + self.tokens.len()
    }

    /// What is still to be found of it when those that it names are `resolved`. APNs devices need tokens of `kind`. Platforms
    /// are those that have lanes at this moment, on this node: the nodes that find the audience may know other ones.
    pub fn fan_out(&self, app: &App, resolved: &Resolved, kind: Kind) -> Option<FanOut> {
        let wanted = |platform: &Platform| self.platforms.as_ref().is_none_or(|some| some.contains(platform));
        let platforms = Platform::ALL.into_iter().filter(|platform| app.has_platform(*platform));
        let targets = resolved.targets.iter().map(|target| target.device);
        self.all.then(|| FanOut {
            kind,
            platforms: Some(platforms.filter(wanted).collect()),
            except_users: self.except_users.clone(),
            except_devices: sorted(self.except_devices.iter().copied().chain(targets)),
        })
    }
}

/// An audience as its devices.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Resolved {
    /// Ascending by device, each once.
    pub targets: Vec<Target>,
    /// The targets as they were found, if they are few: whoever sends to them soon need not read them again.
    pub loaded: Option<LoadedDevices>,
    /// Users none of whose devices became a target, in the order given.
    pub unmatched_users: Vec<UserId>,
    /// Device ids that are not there, as written, in the order given.
    pub unmatched_devices: Vec<String>,
}

/// Finds the devices of an audience for a notification that needs APNs tokens of `kind`. Tokens that were not known are
/// devices afterwards, whatever becomes of the notification.
///
/// # Errors
/// The database's.
pub async fn resolve(
    resolver: &AudienceResolver,
    app: &App,
    audience: &Audience,
    kind: Kind,
) -> Result<Resolved, store::Error> {
    let at = Instant::now();
    let tokens = distinct_tokens(audience);
    let named = Named {
        ids: sorted(audience.devices.iter().filter_map(|(_, id)| *id)),
        tokens: tokens.keys().copied().collect(),
        users: sorted(audience.users.iter().cloned()),
    };
    let mut union = TargetSet::new(app, audience, kind);
    if named.is_empty() {
        return Ok(union.into_resolved(&HashSet::new(), at));
    }
    let mut found = resolver.find(app.id, named).await?;
    if found.by_token.len() < tokens.len() {
        make_missing(resolver.pool(), app, &tokens, kind, &mut found.by_token).await?;
    }
    for device in found.by_token {
        let token = tokens.get(&(device.loaded.platform, device.digest));
        union.add_explicit(device, token.and_then(|token| token.reference.clone()));
    }
    let known_ids = found.by_id.iter().map(|device| device.loaded.device).collect();
    for device in found.by_id {
        union.add_explicit(device, None);
    }
    for device in found.by_user {
        union.add_of_user(device);
    }
    let stale = union.take_stale();
    if !stale.is_empty() {
        store::devices::mark_sent(&mut resolver.pool().acquire().await?, &stale).await?;
    }
    Ok(union.into_resolved(&known_ids, at))
}

/// Tokens by what identifies them, in the order in which they may be locked.
type Tokens<'a> = BTreeMap<TokenKey, &'a AddressedToken>;

/// The tokens of the platforms in question, each once: the first mention counts.
fn distinct_tokens(audience: &Audience) -> Tokens<'_> {
    let mut distinct = Tokens::new();
    for token in &audience.tokens {
        if audience.platforms.as_ref().is_none_or(|some| some.contains(&token.platform)) {
            distinct.entry((token.platform, token.token.digest())).or_insert(token);
        }
    }
    distinct
}

/// Makes devices of the tokens that have none, in a transaction of its own and in order (docs/queue.md#lock-order), and
/// adds them to those that were `found`.
async fn make_missing(
    pool: &SessionPool,
    app: &App,
    tokens: &Tokens<'_>,
    kind: Kind,
    found: &mut Vec<Addressed>,
) -> Result<(), store::Error> {
    let mut missing = tokens.clone();
    for device in found.iter() {
        missing.remove(&(device.loaded.platform, device.digest));
    }
    let mut take = |missing: &mut Tokens<'_>, devices: Vec<Addressed>| {
        for device in devices {
            if missing.remove(&(device.loaded.platform, device.digest)).is_some() {
                found.push(device);
            }
        }
    };
    let mut conn = pool.acquire().await?;
    for _ in 0..ATTEMPTS {
        let new: Vec<NewToken> = missing.values().map(|token| new_token(app, token, kind)).collect();
        take(&mut missing, store::devices::insert_sent(&mut conn, app.id, &new).await?);
        if missing.is_empty() {
            return Ok(());
        }
        let keys: Vec<TokenKey> = missing.keys().copied().collect();
        take(&mut missing, store::devices::addressed_tokens(&mut conn, app.id, &keys).await?);
        if missing.is_empty() {
            return Ok(());
        }
    }
    Err(store::Error::Contended)
}

/// A sender that names no kind means the one that its notification needs: as any other it could get nothing.
fn new_token(app: &App, token: &AddressedToken, kind: Kind) -> NewToken {
    let is_apns = token.platform == Platform::Apns;
    NewToken {
        platform: token.platform,
        environment: is_apns.then(|| token.environment.unwrap_or(app.apns_environment)),
        kind: if is_apns { token.kind.unwrap_or(kind) } else { Kind::Alert },
        token: token.token.clone(),
    }
}

fn sorted<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values.dedup();
    values
}
