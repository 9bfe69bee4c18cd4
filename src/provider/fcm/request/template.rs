//! A text that is rendered once per notification, with slots for the numbers that each attempt inserts.

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};

use crate::provider::Expiry;

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
                Slot::Ttl => expiry.ttl_secs(),
                Slot::Expiration => expiry.apns_expiration(),
            };
            write!(into, "{number}").expect("a buffer grows");
            into.extend_from_slice(text);
        }
    }
}
