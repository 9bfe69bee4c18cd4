//! Notifications: sending and cancelling them, their status and their deliveries. These are the rules below the HTTP handlers of
//! `api::notifications`; other ways in (a queue consumer, gRPC) call the same functions.

pub mod acceptance;
pub mod cancel;
pub mod deliveries;
mod found;
pub mod history;
pub mod list;
pub mod preview;
pub mod replay;
pub mod rules;
pub mod send;
pub mod status;
pub mod why;
