//! The provider for Firebase Cloud Messaging, HTTP v1: facts, settings, credentials, requests, and the meaning of answers.

mod bearer;
mod client;
mod credential;
mod credential_settings;
mod platform;
mod provider;
mod request;
mod response;
mod schema;
mod settings;

pub use client::FcmClient;
pub use credential::{CredentialError, ExternalAccountError};
pub use credential_settings::GoogleCredential;
pub use platform::{CHANNEL, LANE, PLATFORM, defaults};
pub use provider::Fcm;
pub use request::{
    FcmMessage, Traits, check_overrides, check_size, has_something_to_send, prepare, shows_something,
    supplies_content,
};
pub use response::classify;
pub use settings::FcmSettings;
