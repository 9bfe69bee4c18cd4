//! Answers of earlier requests with the same idempotency key, where a request does not come to the acceptor.

use std::collections::HashMap;
use std::sync::Arc;

use super::acceptance::Acceptance;
use super::send::SendResult;
use crate::domain::{AppId, Idempotency, IdempotencyKey};
use crate::store;
use crate::store::SessionPool;
use crate::store::idempotency::StoredKey;

/// The results of requests that are refused before they come to the acceptor, in the order given. One that repeats an
/// earlier request with its key gets the earlier answer: the configuration, and with it what is valid, may have changed
/// since. `failed` is the error of those with keys if the keys can't be looked up.
pub async fn replay_refused<E>(
    pool: &SessionPool,
    app: AppId,
    refused: Vec<(Option<Idempotency>, E)>,
    failed: impl Fn(Arc<store::Error>) -> E,
) -> Vec<Result<SendResult, E>> {
    let keys: Vec<_> = refused.iter().filter_map(|(key, _)| Some((app, key.as_ref()?.key))).collect();
    let found = find(pool, &keys).await.map_err(Arc::new);
    let result = |(idempotency, error): (Option<Idempotency>, E)| {
        let Some(Idempotency { key, request }) = idempotency else { return Err(error) };
        let found = found.as_ref().map_err(|error| failed(Arc::clone(error)))?;
        let stored = found.get(&(app, key)).filter(|stored| stored.request == request).ok_or(error)?;
        let first = Acceptance::from_stored(&stored.acceptance).map_err(|error| failed(Arc::new(error)))?;
        Ok(SendResult::Replayed(stored.notification, first))
    };
    refused.into_iter().map(result).collect()
}

async fn find(
    pool: &SessionPool,
    keys: &[(AppId, IdempotencyKey)],
) -> Result<HashMap<(AppId, IdempotencyKey), StoredKey>, store::Error> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    store::idempotency::find(&mut pool.acquire().await?, keys).await
}
