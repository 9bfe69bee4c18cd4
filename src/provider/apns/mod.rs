//! The provider for Apple Push Notification service: facts, credential, requests, and the meaning of answers.

mod client;
mod credential;
mod platform;
mod provider;
mod request;
mod response;

pub use client::{ApnsClient, Settings};
pub use credential::KeyError;
pub use platform::{PLATFORM, PRODUCTION, SANDBOX, TOPICS, defaults, environment, lane};
pub use provider::Apns;
pub use request::{
    ApnsMessage, TopicOrigin, check_overrides, check_size, has_something_to_send, prepare, shows_something,
    supplies_content,
};
pub use response::classify;
