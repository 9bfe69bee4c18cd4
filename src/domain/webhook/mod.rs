//! Webhooks without I/O: names, addresses that may be reached, secrets and signatures, and how a delivery goes on after
//! each attempt.

mod address_guard;
mod attempt_outcome;
mod host_name;
mod message_id;
mod name;
mod progress;
mod secret;

pub use address_guard::{AddressGuard, RefusedAddress};
pub use attempt_outcome::WebhookOutcome;
pub use host_name::{is_host_name, is_host_of_urls};
pub use message_id::MessageKind;
pub use name::{BadWebhookName, WebhookName};
pub use progress::{
    FAILING_FAILURES, MessageFocus, Movement, NextStep, WebhookChange, WebhookProgress, WebhookRetryPolicy,
};
pub use secret::{BadWebhookSecret, WebhookSecret, sign};
