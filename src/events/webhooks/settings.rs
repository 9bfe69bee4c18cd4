//! What a webhook is: the same whether the configuration or the API made it.

use chrono::{DateTime, Utc};

use super::url::WebhookUrl;
use crate::domain::{EventTypes, WebhookName, WebhookSecret};
use crate::events::DeviceDetail;
use crate::settings::CaFile;

/// Secrets of a webhook at most. Two are for a rotation, and one more for a rotation that begins before the last one ended.
pub const SECRETS_MAX: usize = 3;
/// Events of a message at most.
pub const BATCH_EVENTS_MAX: u16 = 100;

/// Where the messages of a webhook go, what is in them, and what they are signed with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebhookSettings {
    /// Unique in its app.
    pub name: WebhookName,
    /// Where messages are posted to.
    pub url: WebhookUrl,
    /// What messages are signed with.
    pub secrets: SigningSecrets,
    /// The types of the events.
    pub types: WebhookTypes,
    /// Which devices the events of deliveries name.
    pub devices: DeviceDetail,
    /// Events of a message at most, 1 to 100.
    pub batch_max: u16,
    /// Certificates that are trusted besides the system's.
    pub ca_file: Option<CaFile>,
}

/// One to three secrets, each of which signs every message until its time is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SigningSecrets(Vec<(WebhookSecret, Option<DateTime<Utc>>)>);

impl SigningSecrets {
    /// Each with the time from which on it signs no more, by Postgres's clock. None: it signs on.
    pub fn new(secrets: Vec<(WebhookSecret, Option<DateTime<Utc>>)>) -> Self {
        Self(secrets)
    }

    /// Those that sign at this time, in their order.
    pub fn at(&self, now: DateTime<Utc>) -> impl Iterator<Item = &WebhookSecret> {
        let sign_on = self.0.iter().filter(move |(_, ends)| ends.is_none_or(|ends| ends > now));
        sign_on.map(|(secret, _)| secret)
    }

    /// All of them, in their order, whether they still sign or not.
    pub fn all(&self) -> impl Iterator<Item = &WebhookSecret> {
        self.0.iter().map(|(secret, _)| secret)
    }
}

impl From<Vec<WebhookSecret>> for SigningSecrets {
    /// Secrets that sign on.
    fn from(secrets: Vec<WebhookSecret>) -> Self {
        Self(secrets.into_iter().map(|secret| (secret, None)).collect())
    }
}

/// Types of events, and the names and patterns by which they were chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebhookTypes {
    /// As they were given, each once: `notification.*`.
    pub patterns: Vec<String>,
    /// The types that the patterns stand for.
    pub chosen: EventTypes,
}

impl WebhookTypes {
    /// Types by their names and patterns.
    ///
    /// # Errors
    /// The first text that is neither.
    pub fn parse(given: Vec<String>) -> Result<Self, String> {
        let (mut patterns, mut chosen) = (Vec::new(), EventTypes::NONE);
        for pattern in given {
            chosen = chosen.or(EventTypes::parse(&pattern).ok_or_else(|| pattern.clone())?);
            if !patterns.contains(&pattern) {
                patterns.push(pattern);
            }
        }
        Ok(Self { patterns, chosen })
    }
}

impl Default for WebhookTypes {
    /// What became of notifications and devices.
    fn default() -> Self {
        let patterns = ["notification.*", "delivery.recorded", "device.*"].map(str::to_owned).to_vec();
        Self::parse(patterns).expect("these are types")
    }
}
