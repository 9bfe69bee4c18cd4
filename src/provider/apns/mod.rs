//! Apple Push Notification service: credential, request, response.

mod client;
mod credential;
mod request;
mod response;

pub use client::{ApnsClient, Settings};
pub use credential::KeyError;
pub use request::{
    ApnsMessage, TopicOrigin, check_overrides, check_size, has_something_to_send, prepare, shows_something,
    supplies_content,
};
pub use response::classify;
