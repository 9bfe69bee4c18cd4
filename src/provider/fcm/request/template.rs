//! A text that is made once per notification, with places for what differs per attempt.

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};

use crate::provider::Expiry;

/// What is written in a place of a [`Template`]. All are numbers, so none needs escaping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Slot {
    /// Seconds that the provider may keep the message.
    Ttl,
    /// `apns-expiration`, in UNIX seconds.
    Expiration,
}

/// Text, then places each followed by more text. Cloning shares the text.
#[derive(Clone)]
pub(super) struct Template {
    start: Bytes,
    places: Vec<(Slot, Bytes)>,
}

/// A [`Template`] in the making.
#[derive(Default)]
pub(super) struct Draft {
    done: Vec<(Slot, String)>,
    text: String,
}

impl Draft {
    /// Adds text.
    pub(super) fn text(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    /// Adds a place.
    pub(super) fn slot(mut self, slot: Slot) -> Self {
        self.done.push((slot, std::mem::take(&mut self.text)));
        self
    }

    /// The finished template.
    pub(super) fn finish(self) -> Template {
        let (mut texts, mut slots) = (Vec::new(), Vec::new());
        for (slot, before) in self.done {
            texts.push(Bytes::from(before));
            slots.push(slot);
        }
        texts.push(self.text.into());
        let mut texts = texts.into_iter();
        let start = texts.next().unwrap_or_default();
        Template { start, places: slots.into_iter().zip(texts).collect() }
    }
}

impl Template {
    /// Bytes of the text without what is written in its places.
    pub(super) fn len(&self) -> usize {
        self.start.len() + self.places.iter().map(|(_, text)| text.len()).sum::<usize>()
    }

    /// Writes it for one attempt.
    pub(super) fn write(&self, expiry: Expiry, into: &mut BytesMut) {
        into.extend_from_slice(&self.start);
        for (slot, text) in &self.places {
            let number = match slot {
                Slot::Ttl => expiry.ttl_secs(),
                Slot::Expiration => expiry.apns_expiration(),
            };
            write!(into, "{number}").expect("a buffer grows");
            into.extend_from_slice(text);
        }
    }
}
