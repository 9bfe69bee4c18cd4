//! Accepting a notification: finds its devices, and stores the notification, its jobs and its targets in
//! one transaction.

use std::sync::Arc;

use super::Unmatched;
use crate::audience::{self, Audience, DeviceLookup};
use crate::domain::{App, Content, Kind, NotificationId, NotificationStatus, Ttl};
use crate::queue::accept::{self, Acceptor, NewNotification};
use crate::queue::backlog::{self, Backlog};
use crate::store;

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
pub struct Accepted {
    /// The notification's id.
    pub id: NotificationId,
    /// `Queued`, or `Done` if there is no device to send to.
    pub status: NotificationStatus,
    /// Number of devices; none while a large audience is still to be expanded.
    pub targets: Option<usize>,
    /// Users and devices of the audience that were not found; none while the audience is still to be expanded.
    pub unmatched: Option<Unmatched>,
}

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

/// Accepts a notification of an app.
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
) -> Result<Accepted, Error> {
    let Submission { content, kind, ttl, metadata, audience } = submission;
    backlog.admit(app.id, audience.expected_devices()).await?;
    let resolved = audience::resolve(lookup, app, &audience, kind).await?;
    let fan_out = audience.fan_out(app, &resolved, kind);
    let unmatched = Unmatched::of(&resolved);
    // The number of targets is not known before the fan-out has found all devices.
    let is_complete = fan_out.is_none();
    let targets = is_complete.then_some(resolved.targets.len());
    let is_waiting = !is_complete || resolved.targets.iter().any(|target| target.refused.is_none());
    let accepted = acceptor
        .accept(NewNotification {
            app: Arc::clone(app),
            label: content.label.clone(),
            content: Arc::new(content),
            ttl,
            metadata,
            unmatched: unmatched.to_stored(),
            targets: resolved.targets,
            loaded: resolved.loaded.map(Arc::new),
            fan_out,
        })
        .await?;
    let status = if is_waiting { NotificationStatus::Queued } else { NotificationStatus::Done };
    Ok(Accepted { id: accepted.id, status, targets, unmatched: is_complete.then_some(unmatched) })
}
