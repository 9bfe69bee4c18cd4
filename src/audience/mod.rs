//! Audiences: from the selectors of a request to the devices that get its notification, each device once.
//!
//! Devices, users and tokens are looked up before the answer ([`resolve()`]). An audience such as `all` may have millions
//! of devices: it is stored as a fan-out and found page by page afterwards ([`FanOutWorker`]). The audience of a
//! notification that is sent later is stored whole, and resolved when it is due.

mod candidates;
mod fan_out;
mod found;
mod lookup;
mod opening;
mod own_topics;
mod page;
mod resolve;
mod scheduled;
mod selector;
mod target_set;
#[cfg(test)]
mod test_audiences;
mod tokens;
mod topic_cover;
mod topic_rules;
mod unmatched;

pub use self::fan_out::{FanOutWorker, OnJobsAdded};
pub use self::lookup::{DeviceLookup, LookupWorker};
pub use self::page::{PageError, PageLimits, WrittenPage, write_page};
pub use self::resolve::{Resolved, count_targets, resolve, resolve_all};
pub use self::scheduled::{Later, schedule_all};
pub use self::selector::{AddressedToken, Audience, AudienceSelector, NamedDevice, TokenDevice};
pub use self::unmatched::Unmatched;

/// Ascending, each value once.
fn sorted<T: Ord>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values.dedup();
    values
}
