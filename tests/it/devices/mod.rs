//! Devices: the registry on a real Postgres, and the endpoints on the real router.

mod audience;
mod cli;
mod hints;
mod http;
mod import;
mod keys;
mod lists;
mod quarantine;
mod refs;
mod registration;
mod rejected_tokens;
mod replacement;
mod restore;
mod subscriptions;
mod timeline;
mod topic_deletion;
mod topics;
mod user_tokens;
