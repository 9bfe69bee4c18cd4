//! Devices, API keys, and the pruning of dead tokens.

pub mod audience;
pub mod devices;
pub mod enrolment;
pub mod keys;
pub mod registration;
mod subscribing;
