//! Who a notification is for: devices, users and tokens become targets, each device once.

use std::collections::{BTreeMap, HashSet};

use sqlx::{PgConnection, PgPool};

use crate::domain::{
    App, DeviceId, DeviceToken, Environment, FanOut, Kind, LaneKey, Platform, Reason, Target, UserId,
};
use crate::store;
use crate::store::devices::{Addressed, NewToken, TokenKey};

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

    /// What is still to be found of it when those that it names are `resolved`. APNs devices need tokens of `kind`.
    pub fn fan_out(&self, resolved: &Resolved, kind: Kind) -> Option<FanOut> {
        let targets = resolved.targets.iter().map(|target| target.device);
        self.all.then(|| FanOut {
            kind,
            platforms: self.platforms.clone(),
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
    /// Users none of whose devices became a target, in the order given.
    pub unmatched_users: Vec<UserId>,
    /// Device ids that are not there, as written, in the order given.
    pub unmatched_devices: Vec<String>,
}

/// Finds the devices of an audience for a notification that needs APNs tokens of `kind`. A statement for each way of
/// addressing that is used. Tokens that were not known are devices afterwards, whatever becomes of the notification.
///
/// # Errors
/// The database's.
pub async fn resolve(
    pool: &PgPool,
    app: &App,
    audience: &Audience,
    kind: Kind,
) -> Result<Resolved, store::Error> {
    let ids = sorted(audience.devices.iter().filter_map(|(_, id)| *id));
    let tokens = distinct_tokens(audience);
    if ids.is_empty() && tokens.is_empty() && audience.users.is_empty() {
        return Ok(Union::new(app, audience, kind).into_resolved(&HashSet::new()));
    }
    let mut conn = pool.acquire().await?;
    let mut union = Union::new(app, audience, kind);
    let mut known_ids = HashSet::new();
    if !tokens.is_empty() {
        for device in find_or_make(&mut conn, app, &tokens, kind).await? {
            let token = tokens.get(&(device.platform, device.digest));
            union.add_explicit(&device, token.and_then(|token| token.reference.clone()));
        }
    }
    if !ids.is_empty() {
        for device in store::devices::addressed_ids(&mut conn, app.id, &ids).await? {
            known_ids.insert(device.device);
            union.add_explicit(&device, None);
        }
    }
    if !audience.users.is_empty() {
        let users = sorted(audience.users.iter().cloned());
        for device in store::devices::addressed_users(&mut conn, app.id, &users).await? {
            union.add_of_user(device);
        }
    }
    union.stale.sort_unstable();
    union.stale.dedup();
    if !union.stale.is_empty() {
        store::devices::mark_sent(&mut conn, &union.stale).await?;
    }
    Ok(union.into_resolved(&known_ids))
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

/// The devices of tokens; tokens without one get one, in a transaction of its own and in order (docs/queue.md 16f).
async fn find_or_make(
    conn: &mut PgConnection,
    app: &App,
    tokens: &Tokens<'_>,
    kind: Kind,
) -> Result<Vec<Addressed>, store::Error> {
    let mut missing = tokens.clone();
    let mut found = Vec::with_capacity(tokens.len());
    let mut take = |missing: &mut Tokens<'_>, devices: Vec<Addressed>| {
        for device in devices {
            if missing.remove(&(device.platform, device.digest)).is_some() {
                found.push(device);
            }
        }
    };
    for _ in 0..ATTEMPTS {
        let keys: Vec<TokenKey> = missing.keys().copied().collect();
        let known = store::devices::addressed_tokens(conn, app.id, &keys).await?;
        take(&mut missing, known);
        if missing.is_empty() {
            return Ok(found);
        }
        let new: Vec<NewToken> = missing.values().map(|token| new_token(app, token, kind)).collect();
        take(&mut missing, store::devices::insert_sent(conn, app.id, &new).await?);
        if missing.is_empty() {
            return Ok(found);
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

/// Targets as they come together.
struct Union<'a> {
    app: &'a App,
    audience: &'a Audience,
    kind: Kind,
    targets: BTreeMap<DeviceId, Target>,
    matched_users: HashSet<UserId>,
    except_users: HashSet<&'a UserId>,
    except_devices: HashSet<DeviceId>,
    /// Known from sends alone, and today's is not noted yet.
    stale: Vec<DeviceId>,
}

impl<'a> Union<'a> {
    fn new(app: &'a App, audience: &'a Audience, kind: Kind) -> Self {
        Self {
            app,
            audience,
            kind,
            targets: BTreeMap::new(),
            matched_users: HashSet::new(),
            except_users: audience.except_users.iter().collect(),
            except_devices: audience.except_devices.iter().copied().collect(),
            stale: Vec::new(),
        }
    }

    /// Addressed by id or token: a target whatever its state, so that its outcome says what is wrong with it.
    fn add_explicit(&mut self, device: &Addressed, reference: Option<String>) {
        if !self.is_wanted(device) {
            return;
        }
        let refused = if self.takes(device) { self.refusal(device) } else { Some(Reason::new("wrong_kind")) };
        if device.sent_before_today {
            self.stale.push(device.device);
        }
        let target = self.target(device, refused);
        let target = self.targets.entry(device.device).or_insert(target);
        target.reference = target.reference.take().or(reference);
    }

    /// Found through its user: one that can't take it is no target.
    fn add_of_user(&mut self, device: Addressed) {
        if !self.is_wanted(&device) {
            return;
        }
        let is_target = self.targets.contains_key(&device.device);
        if !is_target && (device.quarantined || !self.takes(&device)) {
            return;
        }
        if !is_target {
            let refused = self.refusal(&device);
            let target = Target { user: device.user.clone(), ..self.target(&device, refused) };
            self.targets.insert(device.device, target);
        }
        self.matched_users.extend(device.user);
    }

    fn target(&self, device: &Addressed, refused: Option<Reason>) -> Target {
        let lane = LaneKey::of(device.platform, device.environment);
        Target { device: device.device, lane: self.app.lane(lane).id, user: None, reference: None, refused }
    }

    fn refusal(&self, device: &Addressed) -> Option<Reason> {
        let lane = self.app.lane(LaneKey::of(device.platform, device.environment));
        (!lane.configured).then(|| Reason::new("platform_not_configured"))
    }

    /// FCM tokens take everything; an APNs token what it was made for.
    fn takes(&self, device: &Addressed) -> bool {
        device.platform != Platform::Apns || device.kind == self.kind
    }

    fn is_wanted(&self, device: &Addressed) -> bool {
        self.audience.platforms.as_ref().is_none_or(|some| some.contains(&device.platform))
            && !self.except_devices.contains(&device.device)
            && !device.user.as_ref().is_some_and(|user| self.except_users.contains(user))
    }

    fn into_resolved(self, known_ids: &HashSet<DeviceId>) -> Resolved {
        let mut seen = HashSet::new();
        let users = self.audience.users.iter();
        let unmatched_users =
            users.filter(|user| !self.matched_users.contains(*user) && seen.insert(*user)).cloned().collect();
        let mut seen = HashSet::new();
        let is_unknown = |id: &Option<DeviceId>| id.is_none_or(|id| !known_ids.contains(&id));
        let devices = self.audience.devices.iter();
        let unmatched_devices = devices
            .filter(|(public, id)| is_unknown(id) && seen.insert(public))
            .map(|(public, _)| public.clone())
            .collect();
        Resolved { targets: self.targets.into_values().collect(), unmatched_users, unmatched_devices }
    }
}

fn sorted<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values.dedup();
    values
}
