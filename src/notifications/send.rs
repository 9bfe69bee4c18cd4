//! Accepting notifications: finds their devices, and stores notifications, jobs and targets in one transaction.

use std::sync::Arc;

use super::acceptance::Acceptance;
use super::found::{Found, find_each};
use super::replay::replay_refused;
use crate::audience::{Audience, DeviceLookup, Resolved, Unmatched};
use crate::domain::{
    App, Content, Idempotency, Kind, NotificationId, NotificationStatus, ScheduledAudience, SendTime,
    TraceContext, Ttl,
};
use crate::queue::accept::{self, AcceptedNotification, Acceptor, KeyedRequest, NewNotification, SendTrace};
use crate::queue::backlog::{self, Backlog};
use crate::store;

/// A notification that was read and checked, as far as that is possible without the database.
#[derive(Debug)]
pub struct Submission {
    /// What the phones get.
    pub content: Content,
    /// The kind of token that the content needs, where a platform has several kinds.
    pub kind: Kind,
    /// When it is to be sent.
    pub send_at: SendTime,
    /// How long a provider may take to deliver it, from when it is due.
    pub ttl: Ttl,
    /// The sender's own strings as a JSON object, which status answers repeat.
    pub metadata: Option<Vec<u8>>,
    /// Which devices it is for.
    pub audience: Audience,
}

/// What accepting notifications needs.
#[derive(Clone, Copy, Debug)]
pub struct SendParts<'a> {
    /// Finds the devices of audiences.
    pub lookup: &'a DeviceLookup,
    /// Stores the notifications.
    pub acceptor: &'a Acceptor,
    /// Limits how many devices of an app may wait.
    pub backlog: &'a Backlog,
    /// The span of the request. None: it is not traced.
    pub trace: Option<TraceContext>,
}

/// What became of a submission. It is durable: the transaction is committed.
#[derive(Debug)]
pub enum SendResult {
    /// A new notification with this id.
    Accepted(NotificationId, Acceptance),
    /// The same request was accepted before, with the same idempotency key. Nothing new is stored.
    Replayed(NotificationId, Acceptance),
}

/// Why a submission was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too many devices of the app wait already.
    #[error(transparent)]
    BacklogFull(#[from] backlog::BacklogFull),
    /// The devices could not be found. Submissions that were looked up together share the error.
    #[error(transparent)]
    Store(Arc<store::Error>),
    /// The notification could not be stored.
    #[error(transparent)]
    Accept(#[from] accept::Error),
}

/// Accepts a notification of an app. With an idempotency key that was used before, answers as it was answered then.
///
/// # Errors
/// The notification is not stored, except perhaps after `accept::Error::OutcomeUnknown`. Devices that were made for
/// unknown tokens stay.
pub async fn send(
    parts: SendParts<'_>,
    app: &Arc<App>,
    submission: Submission,
    idempotency: Option<Idempotency>,
) -> Result<SendResult, Error> {
    let mut results = send_all(parts, app, vec![(submission, idempotency)]).await;
    results.pop().unwrap_or(Err(Error::Accept(accept::Error::ShuttingDown)))
}

/// As [`send`] for several notifications of an app, each with a result of its own, in the order given. They share
/// look-ups and commits as far as possible. What fails one of them fails no other, except a database out of reach.
pub async fn send_all(
    parts: SendParts<'_>,
    app: &Arc<App>,
    submissions: Vec<(Submission, Option<Idempotency>)>,
) -> Vec<Result<SendResult, Error>> {
    let SendParts { lookup, acceptor, backlog, trace } = parts;
    let mut results: Vec<Option<Result<SendResult, Error>>> = Vec::new();
    let (mut full, mut full_places) = (Vec::new(), Vec::new());
    let mut admitted = Vec::with_capacity(submissions.len());
    results.resize_with(submissions.len(), || None);
    for (place, (submission, idempotency)) in submissions.into_iter().enumerate() {
        // A notification that is sent later does not wait in the queue before it is due.
        let expected = match submission.send_at.later() {
            Some(_) => 0,
            None => submission.audience.expected_devices(),
        };
        match backlog.admit(app.id, expected).await {
            Ok(()) => admitted.push((place, submission, idempotency)),
            Err(error) => {
                full_places.push(place);
                full.push((idempotency, Error::from(error)));
            }
        }
    }
    // A repeat adds nothing to the backlog.
    let refused = replay_refused(lookup.pool(), app.id, full, Error::Store).await;
    full_places.into_iter().zip(refused).for_each(|(place, result)| results[place] = Some(result));

    let submissions: Vec<&Submission> = admitted.iter().map(|(_, submission, _)| submission).collect();
    let found = find_each(lookup, app, &submissions).await;
    let (mut new, mut accepting) = (Vec::with_capacity(found.len()), Vec::with_capacity(found.len()));
    for ((place, submission, idempotency), found) in admitted.into_iter().zip(found) {
        match found {
            Ok(found) => {
                let (mut notification, acceptance) = match found {
                    Found::Now(resolved) => notification(app, submission, resolved),
                    Found::Later(audience) => scheduled(app, submission, audience),
                };
                notification.keyed = idempotency
                    .map(|idempotency| KeyedRequest { idempotency, acceptance: acceptance.to_stored() });
                notification.trace = trace.map(SendTrace::of_request);
                new.push(notification);
                accepting.push((place, acceptance));
            }
            Err(error) => results[place] = Some(Err(Error::Store(error))),
        }
    }
    for ((place, acceptance), stored) in accepting.into_iter().zip(acceptor.accept_all(new).await) {
        results[place] = Some(stored.map_err(Error::from).and_then(|stored| result(stored, acceptance)));
    }
    results.into_iter().map(|result| result.expect("each submission was admitted or refused")).collect()
}

/// What is stored of a submission, and what is known of it when it is accepted.
fn notification(app: &Arc<App>, submission: Submission, resolved: Resolved) -> (NewNotification, Acceptance) {
    let Submission { content, kind, send_at, ttl, metadata, audience } = submission;
    let fan_out = audience.fan_out(app, &resolved, kind);
    let unmatched = Unmatched::of(&resolved);
    let stored_unmatched = unmatched.to_stored();
    // The number of targets is not known before the fan-out has found all devices.
    let is_complete = fan_out.is_none();
    let rejected_tokens: Vec<_> = audience.rejected_targets().cloned().collect();
    let is_waiting = !is_complete || resolved.targets.iter().any(|target| target.refused.is_none());
    let acceptance = Acceptance {
        status: if is_waiting { NotificationStatus::Queued } else { NotificationStatus::Done },
        targets: is_complete.then_some(resolved.targets.len() + rejected_tokens.len()),
        unmatched: is_complete.then_some(unmatched),
    };
    let new = NewNotification {
        metadata,
        unmatched: stored_unmatched,
        targets: resolved.targets,
        rejected_tokens,
        loaded: resolved.loaded.map(Arc::new),
        fan_out,
        ..NewNotification::without_targets(app, content, send_at, ttl)
    };
    (new, acceptance)
}

/// As [`notification`], of a submission that is sent later. Of its targets only rejected tokens are known.
fn scheduled(
    app: &Arc<App>,
    submission: Submission,
    scheduled: ScheduledAudience,
) -> (NewNotification, Acceptance) {
    let Submission { content, send_at, ttl, metadata, audience, .. } = submission;
    let acceptance = Acceptance { status: NotificationStatus::Scheduled, targets: None, unmatched: None };
    let new = NewNotification {
        metadata,
        rejected_tokens: audience.rejected_targets().cloned().collect(),
        scheduled: Some(scheduled),
        ..NewNotification::without_targets(app, content, send_at, ttl)
    };
    (new, acceptance)
}

fn result(stored: AcceptedNotification, acceptance: Acceptance) -> Result<SendResult, Error> {
    let Some(first) = stored.replayed else { return Ok(SendResult::Accepted(stored.id, acceptance)) };
    let first = Acceptance::from_stored(&first).map_err(|error| Error::Store(Arc::new(error)))?;
    Ok(SendResult::Replayed(stored.id, first))
}
