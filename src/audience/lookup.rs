//! Look-ups of the devices that audiences name. Small audiences that arrive while others are looked up share their
//! statements: one statement each would cost Postgres more than storing the notifications.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::sorted;
use crate::domain::{AppId, DeviceId, UserId};
use crate::store;
use crate::store::devices::{Addressed, TokenKey, addressed_ids, addressed_tokens, addressed_users};
use crate::store::{DatabaseTime, Session, SessionPool};

/// Larger audiences get a query of their own, so that small ones are not delayed by them.
const SHARED_NAMES_MAX: usize = 100;
/// Audiences that share their statements.
const SHARED_QUERIES_MAX: usize = 256;
/// After a batch of at least this many queries the worker waits [`GATHER_TIME`], so that the next batch is larger.
const BUSY_QUERIES: usize = 4;
const GATHER_TIME: Duration = Duration::from_millis(1);
/// While so many queries wait, further ones run statements of their own.
const WAITING_QUERIES_MAX: usize = 4_096;

/// What an audience names, each key once, ascending.
#[derive(Clone, Debug, Default)]
pub(super) struct LookupKeys {
    pub(super) ids: Vec<DeviceId>,
    pub(super) tokens: Vec<TokenKey>,
    pub(super) users: Vec<UserId>,
}

/// The devices that exist, by the kind of key that found them.
#[derive(Clone, Debug, Default)]
pub(super) struct FoundDevices {
    pub(super) by_id: Vec<Addressed>,
    pub(super) by_token: Vec<Addressed>,
    pub(super) by_user: Vec<Addressed>,
}

/// Looks up the devices of audiences. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DeviceLookup {
    pool: SessionPool,
    queries: mpsc::Sender<LookupQuery>,
}

/// The task that runs the shared statements of a [`DeviceLookup`].
#[derive(Debug)]
pub struct LookupWorker {
    pool: SessionPool,
    queries: mpsc::Receiver<LookupQuery>,
}

#[derive(Debug)]
struct LookupQuery {
    app: AppId,
    keys: LookupKeys,
    reply: oneshot::Sender<FoundDevices>,
}

impl DeviceLookup {
    /// A look-up, and its worker, which the caller must [run](LookupWorker::run).
    pub fn new(pool: SessionPool) -> (Self, LookupWorker) {
        let (sender, queries) = mpsc::channel(WAITING_QUERIES_MAX);
        (Self { pool: pool.clone(), queries: sender }, LookupWorker { pool, queries })
    }

    /// A look-up without a worker: each audience gets statements of its own.
    pub fn unshared(pool: SessionPool) -> Self {
        Self { pool, queries: mpsc::channel(1).0 }
    }

    /// The connections that audiences are found over.
    pub fn pool(&self) -> &SessionPool {
        &self.pool
    }

    /// Finds the devices with these keys, by one statement for each kind of key.
    ///
    /// # Errors
    /// Postgres is out of reach or refuses a key.
    pub(super) async fn look_up(&self, app: AppId, keys: LookupKeys) -> Result<FoundDevices, store::Error> {
        if keys.len() <= SHARED_NAMES_MAX {
            let (reply, found) = oneshot::channel();
            let query = LookupQuery { app, keys: keys.clone(), reply };
            if self.queries.try_send(query).is_ok() {
                let asked_at = Instant::now();
                let found = found.await;
                // Another task asks Postgres.
                DatabaseTime::add(asked_at.elapsed());
                if let Ok(found) = found {
                    return Ok(found);
                }
            }
        }
        look_up(&mut self.pool.acquire().await?, app, &keys).await
    }

    /// Finds the devices of several audiences of an app by one statement for each kind of key. Each audience gets its own
    /// devices, in the order given.
    ///
    /// # Errors
    /// Postgres is out of reach or refuses a key of one of them.
    pub(super) async fn look_up_each(
        &self,
        app: AppId,
        mut all: Vec<LookupKeys>,
    ) -> Result<Vec<FoundDevices>, store::Error> {
        match all.as_mut_slice() {
            [only] if !only.is_empty() => Ok(vec![self.look_up(app, std::mem::take(only)).await?]),
            _ => look_up_each(&self.pool, app, &all).await,
        }
    }
}

impl LookupWorker {
    /// Answers queries until told to stop. Later queries run statements of their own.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut queries = Vec::with_capacity(SHARED_QUERIES_MAX);
        loop {
            tokio::select! {
                _ = self.queries.recv_many(&mut queries, SHARED_QUERIES_MAX) => {}
                () = stop.cancelled() => return,
            }
            if queries.is_empty() {
                // All look-ups are dropped.
                return stop.cancelled().await;
            }
            let is_busy = queries.len() >= BUSY_QUERIES;
            let mut by_app: HashMap<AppId, Vec<LookupQuery>> = HashMap::new();
            for query in queries.drain(..) {
                by_app.entry(query.app).or_default().push(query);
            }
            for (app, queries) in by_app {
                answer(&self.pool, app, queries).await;
            }
            if is_busy {
                sleep(GATHER_TIME).await;
            }
        }
    }
}

/// Runs the statements for all queries and gives each its own devices. On an error no query gets a reply, and each runs
/// statements of its own: Postgres may have refused a key of one of them only.
async fn answer(pool: &SessionPool, app: AppId, queries: Vec<LookupQuery>) {
    let (keys, replies): (Vec<_>, Vec<_>) =
        queries.into_iter().map(|query| (query.keys, query.reply)).unzip();
    let Ok(found) = look_up_each(pool, app, &keys).await else { return };
    for (reply, found) in replies.into_iter().zip(found) {
        // A request that was dropped does not receive it.
        let _dropped = reply.send(found);
    }
}

async fn look_up_each(
    pool: &SessionPool,
    app: AppId,
    each: &[LookupKeys],
) -> Result<Vec<FoundDevices>, store::Error> {
    let all = all_of(each);
    let found = match all.is_empty() {
        true => FoundDevices::default(),
        false => look_up(&mut pool.acquire().await?, app, &all).await?,
    };
    Ok(shares(each, &found))
}

/// Finds the devices of several audiences of an app by one statement for each kind of key, over one connection.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub(super) async fn look_up_over(
    conn: &mut Session,
    app: AppId,
    each: &[LookupKeys],
) -> Result<Vec<FoundDevices>, store::Error> {
    let found = look_up(conn, app, &all_of(each)).await?;
    Ok(shares(each, &found))
}

fn all_of(each: &[LookupKeys]) -> LookupKeys {
    LookupKeys {
        ids: sorted(each.iter().flat_map(|keys| keys.ids.iter().copied())),
        tokens: sorted(each.iter().flat_map(|keys| keys.tokens.iter().copied())),
        users: sorted(each.iter().flat_map(|keys| keys.users.iter().cloned())),
    }
}

/// What of the found devices each audience named.
fn shares(each: &[LookupKeys], found: &FoundDevices) -> Vec<FoundDevices> {
    let by_id = grouped(&found.by_id, |device| Some(device.loaded.device));
    let by_token = grouped(&found.by_token, |device| Some(device.token_key()));
    let by_user = grouped(&found.by_user, |device| device.loaded.user.clone());
    let own = each.iter().map(|keys| FoundDevices {
        by_id: select(&by_id, &keys.ids),
        by_token: select(&by_token, &keys.tokens),
        by_user: select(&by_user, &keys.users),
    });
    own.collect()
}

fn grouped<K: Eq + Hash>(
    devices: &[Addressed],
    key: impl Fn(&Addressed) -> Option<K>,
) -> HashMap<K, Vec<&Addressed>> {
    let mut groups: HashMap<K, Vec<&Addressed>> = HashMap::new();
    for device in devices {
        if let Some(key) = key(device) {
            groups.entry(key).or_default().push(device);
        }
    }
    groups
}

fn select<K: Eq + Hash>(groups: &HashMap<K, Vec<&Addressed>>, keys: &[K]) -> Vec<Addressed> {
    keys.iter().filter_map(|key| groups.get(key)).flatten().map(|device| (*device).clone()).collect()
}

async fn look_up(conn: &mut Session, app: AppId, keys: &LookupKeys) -> Result<FoundDevices, store::Error> {
    let mut found = FoundDevices::default();
    if !keys.tokens.is_empty() {
        found.by_token = addressed_tokens(conn, app, &keys.tokens).await?;
    }
    if !keys.ids.is_empty() {
        found.by_id = addressed_ids(conn, app, &keys.ids).await?;
    }
    if !keys.users.is_empty() {
        found.by_user = addressed_users(conn, app, &keys.users).await?;
    }
    Ok(found)
}

impl LookupKeys {
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.ids.len() + self.tokens.len() + self.users.len()
    }
}
