//! What operators promise for pushes that a person waits for. The alerts (deploy/prometheus/alerts.yml) and the dashboard judge by it.

use std::time::Duration;

use super::{Class, Priority};

/// The share of devices, in percent, that begin their first attempt within [`OBJECTIVE_TIME`].
pub const OBJECTIVE_PERCENT: u32 = 99;
/// From the acceptance, or from a later `send_at`, to the first attempt. A bound of the histogram that the alerts read.
pub const OBJECTIVE_TIME: Duration = Duration::from_secs(5);

/// Does the objective hold for the first attempt of such a job? Broadcasts wait for each other, and low priority may wait.
pub fn has_objective(class: Class, priority: Priority) -> bool {
    class != Class::Bulk && priority != Priority::Low
}
