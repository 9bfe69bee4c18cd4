//! Devices, API keys, and the pruning of dead tokens.

pub mod devices;
pub mod keys;
pub mod register;
pub mod registration;
mod subscriptions;
