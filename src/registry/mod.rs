//! The registry: devices with their registrations and subscriptions, topics, users, and API keys.

pub mod device_list;
pub mod devices;
pub mod erasure;
pub mod import_check;
mod key_cache;
mod key_uses;
pub mod keys;
mod quarantine_facts;
pub mod register;
pub mod registration;
mod subscriptions;
pub mod topics;
pub mod users;
