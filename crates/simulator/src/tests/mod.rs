//! The simulator against a client of its own: plain `h2` over TLS, nothing of Pushpost's sender.

mod apns;
mod beginnings;
mod client;
mod connections;
mod fcm;
mod federation;
mod keyring;
mod ledger;
mod scripts;
