//! A notification as one lane sends it: what all its devices in the lane share, rendered once for the sender in use.
//!
//! The prefetcher makes these and keeps the latest; each attempt reads one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::domain::{Content, NotificationId};
use crate::provider::{Prepared, Provider, Sender};
use crate::queue::lane_intake::HandoffPayload;

/// Counts the senders that a lane has had. A rendering is kept for one of them, because another sender may have another
/// topic or channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SenderNumber(pub(super) u64);

/// What all devices of a notification in one lane share.
#[derive(Debug)]
pub(super) struct RenderedNotification {
    id: NotificationId,
    content: Arc<Content>,
    latest: Mutex<Option<(SenderNumber, Prepared)>>,
    /// There is one attempt, and the provider does not store the push: `ttl` is 0.
    pub(super) once: bool,
    /// Some devices were addressed through a user. They are sent only while that user has them. A later page of a fan-out
    /// may find the first of them.
    by_user: AtomicBool,
    /// Set by the first device that asks.
    has_content: OnceLock<bool>,
}

impl RenderedNotification {
    /// Renders nothing yet.
    pub(super) fn new(id: NotificationId, payload: &HandoffPayload) -> Self {
        let (content, once) = (Arc::clone(&payload.content), payload.once);
        let by_user = AtomicBool::new(payload.by_user);
        Self { id, content, latest: Mutex::default(), once, by_user, has_content: OnceLock::new() }
    }

    /// Were some devices addressed through a user, as far as is known?
    pub(super) fn is_by_user(&self) -> bool {
        self.by_user.load(Ordering::Relaxed)
    }

    /// Some devices were addressed through a user.
    pub(super) fn note_by_user(&self) {
        self.by_user.store(true, Ordering::Relaxed);
    }

    /// False where overrides bring content for other providers only.
    pub(super) fn has_content_for(&self, provider: &dyn Provider) -> bool {
        *self.has_content.get_or_init(|| provider.has_something_to_send(&self.content))
    }

    /// As this sender sends it. Rendered once, unless two senders take turns.
    pub(super) fn prepared(&self, number: SenderNumber, sender: &Sender) -> Prepared {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        match &*latest {
            Some((rendered_for, prepared)) if *rendered_for == number => prepared.clone(),
            _ => latest.insert((number, sender.prepare(self.id, &self.content))).1.clone(),
        }
    }
}
