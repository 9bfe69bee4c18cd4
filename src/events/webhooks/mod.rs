//! Webhooks: durable readers of the event log that post to a receiver.
//!
//! A webhook is a row with a cursor, and the bounds of one message under way. [`run`] leases the webhooks that have something to
//! deliver; [`delivery`] posts message after message; [`work`] finds what is next; [`client`] makes one attempt. How a delivery goes
//! on after an attempt is [`crate::domain::WebhookProgress`].

mod answer_limit;
pub mod client;
mod connector;
mod delivery;
mod due_times;
mod facts;
mod message;
mod notes;
mod record;
mod registry;
mod runner;
mod services;
mod settings;
mod test_permits;
mod traced;
mod url;
mod work;

pub use message::WebhookMessage;
pub use registry::{DeclaredWebhooks, WebhookRegistry};
pub use runner::run;
pub use services::{WebhookServices, WebhookTarget, enter, stored_settings};
pub use settings::{BATCH_EVENTS_MAX, SECRETS_MAX, SigningSecrets, WebhookSettings, WebhookTypes};
pub use test_permits::{TESTS_OF_APP_MAX, TestPermit, TestPermits, TestRefused};
pub use url::{BadWebhookUrl, WebhookUrl};
