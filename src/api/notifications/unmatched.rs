//! The `unmatched` member of answers.

use serde::Serialize;
use utoipa::ToSchema;

use crate::audience::Unmatched;

/// Users and devices that a request named in vain. That is no fault.
#[derive(Serialize, ToSchema, Debug)]
#[schema(as = Unmatched, example = json!({"users": ["u8"], "users_total": 1, "devices": [], "devices_total": 0}))]
pub(in crate::api) struct UnmatchedAnswer<'a> {
    /// The first 100 users without a device that became a target.
    #[schema(max_items = 100)]
    users: &'a [String],
    /// The number of such users.
    users_total: usize,
    /// The first 100 device ids that are unknown.
    #[schema(max_items = 100)]
    devices: &'a [String],
    /// The number of such ids.
    devices_total: usize,
}

impl<'a> From<&'a Unmatched> for UnmatchedAnswer<'a> {
    fn from(unmatched: &'a Unmatched) -> Self {
        Self {
            users: &unmatched.users,
            users_total: unmatched.users_total,
            devices: &unmatched.devices,
            devices_total: unmatched.devices_total,
        }
    }
}
