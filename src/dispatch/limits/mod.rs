//! How much a lane sends: attempts in flight, fewer of them beside urgent work, and a project's quota.

pub(super) mod adaptive;
pub(super) mod concurrency;
pub(super) mod quota;
mod quota_usage;
