//! The provider for Firebase Cloud Messaging, HTTP v1: facts, credentials, requests, and the meaning of answers.

mod bearer;
mod client;
mod credential;
mod platform;
mod provider;
mod request;
mod response;
mod schema;

pub use client::{FcmClient, Settings};
pub use credential::{CredentialError, CredentialSettings, ExternalAccount, ExternalAccountError};
pub use platform::{CHANNEL, LANE, PLATFORM, defaults};
pub use provider::Fcm;
pub use request::{
    FcmMessage, Traits, check_overrides, check_size, has_something_to_send, prepare, shows_something,
    supplies_content,
};
pub use response::classify;
