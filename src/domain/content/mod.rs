//! The content of a notification: the validated request without its audience.
//!
//! It is stored as JSON bytes, so no value in it can make a statement fail (docs/queue.md#poisoned-values). Members may
//! be added, never renamed: a job accepted by one version is sent by the next.

mod overrides;
mod stored;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use overrides::ProviderOverrides;

/// The order of the queue. The priority that the provider gets follows from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Sent after everything else.
    Low,
    /// The default priority.
    #[default]
    Normal,
    /// Sent before the rest of a running broadcast of any size.
    High,
}

impl Priority {
    /// All priorities, in the order in which they are served.
    pub const DESCENDING: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// Parses the name in the API.
    pub fn parse(name: &str) -> Option<Self> {
        Self::DESCENDING.into_iter().find(|priority| priority.as_str() == name)
    }

    /// The number in the database.
    pub fn code(self) -> i16 {
        match self {
            Self::High => 10,
            Self::Normal => 5,
            Self::Low => 1,
        }
    }

    /// The priority of a number in the database.
    pub fn from_code(code: i16) -> Option<Self> {
        Self::DESCENDING.into_iter().find(|priority| priority.code() == code)
    }

    /// Position in [`Self::DESCENDING`].
    pub fn rank(self) -> usize {
        match self {
            Self::High => 0,
            Self::Normal => 1,
            Self::Low => 2,
        }
    }
}

/// Longest collapse key, in bytes: APNs's limit (docs/providers.md#apns-request).
pub const COLLAPSE_KEY_MAX: usize = 64;

/// Can the text be a collapse key? The key becomes the header `apns-collapse-id` and must reach APNs unchanged, so it
/// is printable ASCII without spaces at its ends.
pub fn is_collapse_key(text: &str) -> bool {
    let printable = text.bytes().all(|b| matches!(b, b' '..=b'~')) && text.trim() == text;
    (1..=COLLAPSE_KEY_MAX).contains(&text.len()) && printable
}

/// The content of one notification.
#[derive(Clone, PartialEq, Default, Serialize)]
pub struct Content {
    /// The first line, in bold.
    pub title: Option<String>,
    /// The text below the title.
    pub body: Option<String>,
    /// A second title line (Apple only).
    pub subtitle: Option<String>,
    /// An https URL of a picture.
    pub image: Option<String>,
    /// The name of a sound; `default` is the sound of the system.
    pub sound: Option<String>,
    /// The number on the app's icon; 0 removes it.
    pub badge: Option<u32>,
    /// A category that the app has registered (Apple only).
    pub category: Option<String>,
    /// The group in which the notification is shown (Apple only).
    pub thread: Option<String>,
    /// The Android notification channel.
    pub channel: Option<String>,
    /// The URL that a tap opens.
    pub url: Option<String>,
    /// Values for the app itself.
    pub data: Map<String, Value>,
    /// The notification shows nothing and wakes the app.
    pub silent: bool,
    /// The order of the queue.
    pub priority: Priority,
    /// A notification replaces an earlier one with the same key. At most 64 bytes.
    pub collapse_key: Option<String>,
    /// A name for the sender's statistics; also FCM's `analytics_label`.
    pub label: Option<String>,
    /// What only one provider uses of it.
    #[serde(flatten)]
    pub overrides: ProviderOverrides,
}

/// No message shows what people read.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Content(…)")
    }
}

impl Content {
    /// Do the fields show or play something, without regard to overrides?
    pub fn shows_something(&self) -> bool {
        let given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
        given(&self.title) || given(&self.body) || given(&self.sound) || self.badge.is_some()
    }
}
