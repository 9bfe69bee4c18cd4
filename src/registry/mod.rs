//! Devices, API keys, and the pruning of dead tokens.

pub mod keys;
