//! The tokens that an audience names. Those that are unknown become devices.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use super::lookup::FoundDevices;
use super::selector::{AddressedToken, Audience};
use crate::domain::{App, Kind, References};
use crate::store;
use crate::store::SessionPool;
use crate::store::devices::{Addressed, NewToken, TokenKey};

/// Attempts to insert tokens that other transactions insert and delete meanwhile. After the last one the request fails
/// as contended.
const INSERT_ATTEMPTS: usize = 5;

/// A token of an audience, with the sender's names for each mention of it.
#[derive(Clone)]
pub(super) struct NamedToken<'a> {
    /// The first mention.
    token: &'a AddressedToken,
    pub(super) references: References,
}

/// Tokens by platform and digest, in the order in which their rows may be locked.
pub(super) type TokensByKey<'a> = BTreeMap<TokenKey, NamedToken<'a>>;

/// The tokens of the platforms that the audience includes.
pub(super) fn distinct<'a>(audience: &Audience, tokens: Vec<&'a AddressedToken>) -> TokensByKey<'a> {
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

/// Makes devices of the tokens that were not found, and adds them to `found`.
///
/// # Errors
/// Postgres is out of reach, or other transactions kept changing the same tokens. Devices may have been made.
pub(super) async fn make_missing(
    pool: &SessionPool,
    app: &App,
    wanted: &[(&Audience, Kind)],
    tokens: &[TokensByKey<'_>],
    found: &mut [FoundDevices],
) -> Result<(), store::Error> {
    let missing = missing(wanted, tokens, found);
    if missing.is_empty() {
        return Ok(());
    }
    let made = insert(pool, app, missing).await?;
    for (tokens, found) in tokens.iter().zip(found) {
        found.by_token.extend(tokens.keys().filter_map(|key| made.get(key)).cloned());
    }
    Ok(())
}

/// Tokens without a device, with the kind that their notification needs. Of a token that several audiences name the first
/// mention counts.
pub(super) type MissingTokens<'a> = BTreeMap<TokenKey, (&'a AddressedToken, Kind)>;

/// The tokens that were not found.
pub(super) fn missing<'a>(
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
