//! Audiences: from the selectors of a request to the devices that get its notification, each device once.
//!
//! Devices, users and tokens are looked up before the answer ([`resolve()`]). An audience such as `all` may have millions
//! of devices: it is stored as a fan-out and found page by page afterwards ([`FanOutWorker`]).

mod candidates;
mod fan_out;
mod lookup;
mod own_topics;
mod page;
mod resolve;
mod selector;
mod target_set;
#[cfg(test)]
mod test_audiences;
mod topic_cover;
mod topic_rules;

pub use self::fan_out::{FanOutWorker, OnJobsAdded};
pub use self::lookup::{DeviceLookup, LookupWorker};
pub use self::page::{PageError, PageLimits, WrittenPage, write_page};
pub use self::resolve::{Resolved, count_targets, resolve, resolve_all};
pub use self::selector::{AddressedToken, Audience, AudienceSelector, NamedDevice};

/// Ascending, each value once.
fn sorted<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values.dedup();
    values
}
