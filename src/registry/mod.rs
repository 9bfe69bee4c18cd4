//! The registry: devices with their registrations and subscriptions, topics, users, and API keys.

pub mod devices;
pub mod keys;
pub mod register;
pub mod registration;
mod subscriptions;
pub mod topics;
pub mod users;
