//! Finding the devices that audiences name. As many small audiences as arrive while others are looked up share their
//! statements, as they share their commit later: a statement for each would cost Postgres more than storing what is sent.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::sorted;
use crate::domain::{AppId, DeviceId, UserId};
use crate::store;
use crate::store::SessionPool;
use crate::store::devices::{Addressed, TokenKey, addressed_ids, addressed_tokens, addressed_users};

/// Whoever names more looks for himself, so that nobody waits for the thousands of another.
const SHARED_MAX: usize = 100;
/// Most audiences that share their statements.
const QUERIES_MAX: usize = 256;
/// Where so many share one, more come so fast that they wait for a moment, to share one statement instead of several.
const BUSY: usize = 4;
const MOMENT: Duration = Duration::from_millis(1);
/// Past so many that wait, each looks for himself.
const WAITING_MAX: usize = 4_096;

/// Whom an audience names; each once, ascending.
#[derive(Clone, Debug, Default)]
pub(super) struct Named {
    pub(super) ids: Vec<DeviceId>,
    pub(super) tokens: Vec<TokenKey>,
    pub(super) users: Vec<UserId>,
}

/// The devices of those who are known.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) by_id: Vec<Addressed>,
    pub(super) by_token: Vec<Addressed>,
    pub(super) by_user: Vec<Addressed>,
}

/// Where audiences are looked up. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AudienceResolver {
    pool: SessionPool,
    queries: mpsc::Sender<AudienceQuery>,
}

/// The part of a finder that runs: see [`AudienceResolver::new`].
#[derive(Debug)]
pub struct ResolverWorker {
    pool: SessionPool,
    queries: mpsc::Receiver<AudienceQuery>,
}

#[derive(Debug)]
struct AudienceQuery {
    app: AppId,
    named: Named,
    answer: oneshot::Sender<Found>,
}

impl AudienceResolver {
    /// A finder, and the desk that somebody must [run](ResolverWorker::run).
    pub fn new(pool: SessionPool) -> (Self, ResolverWorker) {
        let (sender, queries) = mpsc::channel(WAITING_MAX);
        (Self { pool: pool.clone(), queries: sender }, ResolverWorker { pool, queries })
    }

    /// One whose audiences share nothing.
    pub fn unshared(pool: SessionPool) -> Self {
        Self { pool, queries: mpsc::channel(1).0 }
    }

    pub(super) fn pool(&self) -> &SessionPool {
        &self.pool
    }

    /// A statement for each way of addressing that is used.
    ///
    /// # Errors
    /// The database's.
    pub(super) async fn find(&self, app: AppId, named: Named) -> Result<Found, store::Error> {
        if named.len() <= SHARED_MAX {
            let (answer, found) = oneshot::channel();
            let query = AudienceQuery { app, named: named.clone(), answer };
            if self.queries.try_send(query).is_ok()
                && let Ok(found) = found.await
            {
                return Ok(found);
            }
        }
        look_up(&self.pool, app, &named).await
    }
}

impl ResolverWorker {
    /// Answers until told to stop; who asks later looks for himself.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut queries = Vec::with_capacity(QUERIES_MAX);
        loop {
            tokio::select! {
                _ = self.queries.recv_many(&mut queries, QUERIES_MAX) => {}
                () = stop.cancelled() => return,
            }
            if queries.is_empty() {
                // Nobody is left who could ask.
                return stop.cancelled().await;
            }
            let busy = queries.len() >= BUSY;
            let mut apps: HashMap<AppId, Vec<AudienceQuery>> = HashMap::new();
            for query in queries.drain(..) {
                apps.entry(query.app).or_default().push(query);
            }
            for (app, queries) in apps {
                answer(&self.pool, app, queries).await;
            }
            if busy {
                sleep(MOMENT).await;
            }
        }
    }
}

/// Without an answer each asks again for himself: what Postgres dislikes about one is not the others' concern.
async fn answer(pool: &SessionPool, app: AppId, queries: Vec<AudienceQuery>) {
    let all = Named {
        ids: sorted(queries.iter().flat_map(|query| query.named.ids.iter().copied())),
        tokens: sorted(queries.iter().flat_map(|query| query.named.tokens.iter().copied())),
        users: sorted(queries.iter().flat_map(|query| query.named.users.iter().cloned())),
    };
    let Ok(found) = look_up(pool, app, &all).await else { return };
    let by_id = grouped(&found.by_id, |device| Some(device.loaded.device));
    let by_token = grouped(&found.by_token, |device| Some((device.loaded.platform, device.digest)));
    let by_user = grouped(&found.by_user, |device| device.loaded.user.clone());
    for AudienceQuery { named, answer, .. } in queries {
        let found = Found {
            by_id: of(&by_id, &named.ids),
            by_token: of(&by_token, &named.tokens),
            by_user: of(&by_user, &named.users),
        };
        // Who has hung up needs no answer.
        let _gone = answer.send(found);
    }
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

fn of<K: Eq + Hash>(groups: &HashMap<K, Vec<&Addressed>>, keys: &[K]) -> Vec<Addressed> {
    keys.iter().filter_map(|key| groups.get(key)).flatten().map(|device| (*device).clone()).collect()
}

async fn look_up(pool: &SessionPool, app: AppId, named: &Named) -> Result<Found, store::Error> {
    let mut found = Found::default();
    let mut conn = pool.acquire().await?;
    if !named.tokens.is_empty() {
        found.by_token = addressed_tokens(&mut conn, app, &named.tokens).await?;
    }
    if !named.ids.is_empty() {
        found.by_id = addressed_ids(&mut conn, app, &named.ids).await?;
    }
    if !named.users.is_empty() {
        found.by_user = addressed_users(&mut conn, app, &named.users).await?;
    }
    Ok(found)
}

impl Named {
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn len(&self) -> usize {
        self.ids.len() + self.tokens.len() + self.users.len()
    }
}
