//! The push providers, and the transport they share.

pub mod apns;
pub mod fcm;
pub mod transport;
