//! Accepting a notification: finds its devices, and stores the notification, its jobs and its targets in
//! one transaction.

use std::sync::Arc;

use super::Unmatched;
use crate::audience::{self, Audience, DeviceLookup};
use crate::domain::{App, AppId, Content, Idempotency, Kind, NotificationId, NotificationStatus, Ttl};
use crate::queue::accept::{self, Acceptor, AnswerWriter, KeyedRequest, NewNotification};
use crate::queue::backlog::{self, Backlog};
use crate::store;
use crate::store::SessionPool;

/// A notification that was read and checked, as far as that is possible without the database.
#[derive(Debug)]
pub struct Submission {
    /// What the phones get.
    pub content: Content,
    /// The kind of token that the content needs, where a platform has several kinds.
    pub kind: Kind,
    /// How long a provider may take to deliver it.
    pub ttl: Ttl,
    /// The sender's own strings as a JSON object, which status answers repeat.
    pub metadata: Option<Vec<u8>>,
    /// Which devices it is for.
    pub audience: Audience,
}

/// What became of a submission. It is durable: the transaction is committed.
#[derive(Debug)]
pub enum SendResult {
    /// A new notification with this id.
    Accepted(NotificationId, Acceptance),
    /// The same request was accepted before, with the same idempotency key. Nothing new is stored.
    Replayed(Replay),
}

/// What is known of a notification when it is accepted.
#[derive(Clone, Debug)]
pub struct Acceptance {
    /// `Queued`, or `Done` if there is no device to send to.
    pub status: NotificationStatus,
    /// Number of devices; none while a large audience is still to be expanded.
    pub targets: Option<usize>,
    /// Users and devices of the audience that were not found; none while the audience is still to be expanded.
    pub unmatched: Option<Unmatched>,
}

/// The answer to an earlier request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replay {
    /// The notification of the earlier request.
    pub id: NotificationId,
    /// The body of the answer to the earlier request.
    pub answer: Vec<u8>,
}

/// The idempotency key of a request, and the function that writes its answer. The answer is stored with the key.
pub type Keyed = (Idempotency, fn(NotificationId, &Acceptance) -> Vec<u8>);

/// Why a submission was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too many devices of the app wait already.
    #[error(transparent)]
    BacklogFull(#[from] backlog::BacklogFull),
    /// The devices could not be found.
    #[error(transparent)]
    Store(#[from] store::Error),
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
    lookup: &DeviceLookup,
    acceptor: &Acceptor,
    backlog: &Backlog,
    app: &Arc<App>,
    submission: Submission,
    keyed: Option<Keyed>,
) -> Result<SendResult, Error> {
    let Submission { content, kind, ttl, metadata, audience } = submission;
    if let Err(full) = backlog.admit(app.id, audience.expected_devices()).await {
        // A repeat adds nothing to the backlog.
        return match find_replay(lookup.pool(), app.id, keyed.map(|(idempotency, _)| idempotency)).await? {
            Some(replay) => Ok(SendResult::Replayed(replay)),
            None => Err(full.into()),
        };
    }
    let resolved = audience::resolve(lookup, app, &audience, kind).await?;
    let fan_out = audience.fan_out(app, &resolved, kind);
    let unmatched = Unmatched::of(&resolved);
    let stored_unmatched = unmatched.to_stored();
    // The number of targets is not known before the fan-out has found all devices.
    let is_complete = fan_out.is_none();
    let is_waiting = !is_complete || resolved.targets.iter().any(|target| target.refused.is_none());
    let acceptance = Acceptance {
        status: if is_waiting { NotificationStatus::Queued } else { NotificationStatus::Done },
        targets: is_complete.then_some(resolved.targets.len()),
        unmatched: is_complete.then_some(unmatched),
    };
    let stored = acceptor
        .accept(NewNotification {
            app: Arc::clone(app),
            label: content.label.clone(),
            content: Arc::new(content),
            ttl,
            metadata,
            unmatched: stored_unmatched,
            targets: resolved.targets,
            loaded: resolved.loaded.map(Arc::new),
            fan_out,
            keyed: keyed.map(|keyed| keyed_request(keyed, acceptance.clone())),
        })
        .await?;
    Ok(match stored.replayed {
        Some(answer) => SendResult::Replayed(Replay { id: stored.id, answer }),
        None => SendResult::Accepted(stored.id, acceptance),
    })
}

fn keyed_request((idempotency, write): Keyed, acceptance: Acceptance) -> KeyedRequest {
    let answer = AnswerWriter(Arc::new(move |id| write(id, &acceptance)));
    KeyedRequest { idempotency, answer }
}

/// The answer that is stored for the same request with the same key. For requests that are refused before they come to
/// the acceptor: the configuration, and with it what is valid, may have changed since the first request.
///
/// # Errors
/// Postgres is out of reach, or a row holds an unknown value.
pub async fn find_replay(
    pool: &SessionPool,
    app: AppId,
    idempotency: Option<Idempotency>,
) -> Result<Option<Replay>, store::Error> {
    let Some(Idempotency { key, request }) = idempotency else { return Ok(None) };
    let found = store::idempotency::find(&mut pool.acquire().await?, &[(app, key)]).await?;
    let stored = found.into_values().find(|stored| stored.request == request);
    Ok(stored.map(|stored| Replay { id: stored.notification, answer: stored.answer }))
}
