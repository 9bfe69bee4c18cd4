//! A text that is rendered once per notification, with slots for the numbers that each attempt inserts.

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};

use crate::domain::remaining_secs;
use crate::provider::{Expiry, apple};

/// FCM's longest `ttl`, in seconds: four weeks (docs/providers.md#fcm-message).
const TTL_MAX_SECS: u64 = 28 * 86_400;

/// The value of a slot of a [`Template`]. All values are numbers, so none needs escaping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Slot {
    /// FCM's `ttl`, in seconds.
    Ttl,
    /// The `apns-expiration`, in UNIX seconds.
    Expiration,
}

/// A text, then slots that are each followed by more text. Cloning shares the text.
#[derive(Clone)]
pub(super) struct Template {
    start: Bytes,
    slots: Vec<(Slot, Bytes)>,
}

/// A [`Template`] that is being built.
#[derive(Default)]
pub(super) struct Draft {
    done: Vec<(Slot, String)>,
    text: String,
}

impl Draft {
    pub(super) fn text(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    pub(super) fn slot(mut self, slot: Slot) -> Self {
        self.done.push((slot, std::mem::take(&mut self.text)));
        self
    }

    pub(super) fn finish(self) -> Template {
        let (mut texts, mut slots) = (Vec::new(), Vec::new());
        for (slot, before) in self.done {
            texts.push(Bytes::from(before));
            slots.push(slot);
        }
        texts.push(self.text.into());
        let mut texts = texts.into_iter();
        let start = texts.next().unwrap_or_default();
        Template { start, slots: slots.into_iter().zip(texts).collect() }
    }
}

impl Template {
    /// Bytes of the text without the values of the slots.
    pub(super) fn len(&self) -> usize {
        self.start.len() + self.slots.iter().map(|(_, text)| text.len()).sum::<usize>()
    }

    /// Writes the text with the values of one attempt.
    pub(super) fn write(&self, expiry: Expiry, into: &mut BytesMut) {
        into.extend_from_slice(&self.start);
        for (slot, text) in &self.slots {
            let number = match slot {
                Slot::Ttl => ttl_secs(expiry),
                Slot::Expiration => apple::expiration(expiry),
            };
            write!(into, "{number}").expect("a buffer grows");
            into.extend_from_slice(text);
        }
    }
}

/// FCM's `ttl` in seconds, rounded up. 0 means: deliver at once or drop.
///
/// It is limited to FCM's maximum, because FCM refuses a message above it. A node's estimate of Postgres's time lags a
/// little, so right after the commit the remaining time can exceed the requested time.
fn ttl_secs(expiry: Expiry) -> u64 {
    if expiry.once { 0 } else { remaining_secs(expiry.expires_at - expiry.now).min(TTL_MAX_SECS) }
}
