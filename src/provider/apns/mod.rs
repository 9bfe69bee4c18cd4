//! The provider for Apple Push Notification service: facts, settings, credential, requests, and the meaning of answers.

mod client;
mod credential;
mod platform;
mod provider;
mod request;
mod response;
mod settings;

pub use client::ApnsClient;
pub use credential::KeyError;
pub use platform::{PLATFORM, PRODUCTION, SANDBOX, TOPICS, defaults, lane};
pub use provider::Apns;
pub use request::{
    ApnsMessage, TopicOrigin, check_overrides, check_size, has_something_to_send, prepare, shows_something,
    supplies_content,
};
pub use response::classify;
pub use settings::ApnsSettings;
