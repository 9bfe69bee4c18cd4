//! Commits notifications with idempotency keys: a key that was stored before is answered as the first time
//! (docs/queue.md#idempotency-keys).

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::committer::{self, Part};
use super::session::CommitSession;
use super::traced;
use super::{AcceptedNotification, CommitterParts, Error, KeyedRequest, Request};
use crate::domain::{AppId, IdempotencyKey};
use crate::store;
use crate::store::accept::{KeyColumns, StoredKeys};

/// Wait for another node's transaction while the request is looked for that waits for it. The others of the batch have
/// waited long before.
const ISOLATION_LOCK_WAIT: Duration = Duration::from_millis(100);

/// Commits a batch of requests with keys. Requests that share a key with an earlier one of the batch come after it. A
/// poisoned request, or one with a key that another node's transaction holds, is found by halving the batch and fails
/// alone.
pub(super) async fn commit(parts: &CommitterParts, kept: &mut Option<CommitSession>, requests: Vec<Request>) {
    let mut waiting = vec![requests];
    let (mut may_repeat, mut isolates) = (true, false);
    while let Some(mut part) = waiting.pop() {
        // A request with a client that has gone away must not be stored after the client was told that it failed.
        part.retain(|request| !request.reply.is_closed());
        let mut twins = take_twins(&mut part);
        part.retain(|request| request.withdrawal.begin_storing());
        if part.is_empty() {
            waiting.extend((!twins.is_empty()).then_some(twins));
            continue;
        }
        let committed = commit_part(parts, kept, &mut part, &mut twins, isolates).await;
        if !twins.is_empty() {
            waiting.push(twins);
        }
        let Err(error) = committed else { continue };
        if (error.is_poison() || error.is_lock_timeout()) && part.len() > 1 {
            isolates |= error.is_lock_timeout();
            let right = part.split_off(part.len() / 2);
            waiting.extend([right, part]);
        } else if error.is_lost_answer() && std::mem::take(&mut may_repeat) {
            // What is stored of the part is found by its keys, and a new connection may work.
            waiting.push(part);
        } else {
            refuse(part, &error);
        }
    }
    if let Some(session) = kept.take_if(|_| isolates) {
        // Its lock time-out is that of the isolation.
        session.discard();
    }
}

fn refuse(requests: Vec<Request>, error: &store::Error) {
    if !error.is_lock_timeout() {
        return committer::refuse(requests, error);
    }
    tracing::warn!(%error, requests = requests.len(), "another transaction holds an idempotency key");
    for request in requests {
        let _gone = request.reply.send(Err(Error::KeyInUse));
    }
}

fn key_of(request: &Request) -> Option<(AppId, IdempotencyKey)> {
    Some((request.new.app.id, request.new.keyed.as_ref()?.idempotency.key))
}

/// Leaves one request of each key in `requests`, the first, and returns the others.
fn take_twins(requests: &mut Vec<Request>) -> Vec<Request> {
    let mut keys = HashSet::with_capacity(requests.len());
    requests.extract_if(.., |request| !keys.insert(key_of(request))).collect()
}

/// Stores the part of a batch that has free keys, and answers its requests and their twins. Twins that stay in `twins` have a
/// key that is free. On an error nothing of the part is stored and the requests are still in `requests`, except those that
/// turned out to be stored after all: they are answered.
async fn commit_part(
    parts: &CommitterParts,
    kept: &mut Option<CommitSession>,
    requests: &mut Vec<Request>,
    twins: &mut Vec<Request>,
    isolates: bool,
) -> Result<(), store::Error> {
    let (part, keys) = prepare(parts, requests);
    let mut open = CommitSession::take(kept, &parts.keyed_pool).await?;
    if isolates {
        store::idempotency::limit_lock_wait(open.conn(), ISOLATION_LOCK_WAIT).await?;
    }
    let began = Instant::now();
    let stored = match store::accept::insert_keyed(open.conn(), &part.batch, keys).await {
        Ok(stored) => stored,
        Err(error) => {
            return committer::failed(parts, &parts.keyed_pool, kept, open, error, requests, &part.ids).await;
        }
    };
    let winners = requests.iter().zip(part.ids.iter().copied());
    let winners = winners.filter(|(_, id)| !stored.taken.contains(id));
    traced::write_spans(parts, began, part.ids.len() - stored.taken.len(), winners);
    let mut losers = answer_stored(parts, part, stored, requests);
    losers.append(twins);
    if !losers.is_empty() {
        replay(&mut open, &mut losers).await;
        *twins = losers;
    }
    *kept = Some(open);
    Ok(())
}

fn prepare(parts: &CommitterParts, requests: &[Request]) -> (Part, KeyColumns) {
    let mut keys = KeyColumns::default();
    for KeyedRequest { idempotency, acceptance } in
        requests.iter().filter_map(|request| request.new.keyed.as_ref())
    {
        keys.add(*idempotency, acceptance);
    }
    parts.former_keys.limit_look_up(&mut keys);
    (committer::prepare(parts, requests), keys)
}

/// Hands over the jobs of the notifications that were stored, and answers their requests. Returns the other requests.
fn answer_stored(
    parts: &CommitterParts,
    part: Part,
    stored: StoredKeys,
    requests: &mut Vec<Request>,
) -> Vec<Request> {
    committer::hand_over(parts, part.hand_overs, part.node, stored.jobs);
    if part.batch.has_due_fan_outs() {
        parts.notifier.notify_fan_out();
    }
    parts.metrics.accept.batch_notifications.observe_size(part.ids.len() - stored.taken.len());
    let mut losers = Vec::new();
    for (request, id) in requests.drain(..).zip(part.ids) {
        if stored.taken.contains(&id) {
            losers.push(request);
        } else {
            committer::accepted(&parts.metrics, request, id);
        }
    }
    losers
}

/// Answers requests with keys that are stored. A new statement, because the one before does not see what was committed
/// after its start. Those that stay in `requests` have keys that were deleted meanwhile, or belong to a request that was
/// not stored.
async fn replay(open: &mut CommitSession, requests: &mut Vec<Request>) {
    let keys: Vec<_> = requests.iter().filter_map(key_of).collect();
    let found = match store::idempotency::find(open.conn(), &keys).await {
        Ok(found) => found,
        Err(error) => return committer::refuse(std::mem::take(requests), &error),
    };
    for request in std::mem::take(requests) {
        let Some(stored) = key_of(&request).and_then(|key| found.get(&key)) else {
            requests.push(request);
            continue;
        };
        let is_same =
            request.new.keyed.as_ref().is_some_and(|keyed| keyed.idempotency.request == stored.request);
        let answer = if is_same {
            Ok(AcceptedNotification { id: stored.notification, replayed: Some(stored.acceptance.clone()) })
        } else {
            Err(Error::KeyReused)
        };
        let _gone = request.reply.send(answer);
    }
}
