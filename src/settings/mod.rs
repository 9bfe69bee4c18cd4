//! What reads a section of a configuration, whatever its keys are: the tree of values with their places, typed look-ups,
//! secrets and the files that a configuration names. Used by `config`, and by each provider for its own section.
//!
//! A fault is noted and reading goes on, so that all faults are reported at once.

mod content_hash;
mod endpoint;
mod fault;
mod secret;
mod section;
pub mod tree;

pub use content_hash::{ContentHash, ContentHasher};
pub use endpoint::{BadEndpoint, Endpoint};
pub use fault::{ConfigFault, SettingPlace};
pub use secret::{CaFile, Secret};
pub use section::{ConfigFile, ReadContext, Section};
