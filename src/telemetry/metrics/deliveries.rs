//! The final outcomes that this node committed. The sum over all nodes is what became of all devices.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::names::Names;
use crate::domain::{DeliveryStatus, LaneId};

/// The lane of tokens that no lane sends to.
const NO_LANE: &str = "none";

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct DeliveryLabels {
    lane: String,
    status: &'static str,
}

/// Final outcomes by lane and status. Lanes are told apart by the ids of their rows, because outcomes are counted where they
/// are stored. A clone counts into the same series.
#[derive(Clone, Debug, Default)]
pub struct DeliveryMetrics {
    family: Family<DeliveryLabels, Counter>,
    lanes: Arc<RwLock<HashMap<LaneId, Vec<Counter>>>>,
}

impl DeliveryMetrics {
    pub(super) fn register(names: &mut Names) -> Self {
        let metrics = Self::default();
        metrics.name_lane(LaneId::NONE, NO_LANE);
        names.add(
            "pushpost_deliveries_total",
            "Final outcomes that this node committed",
            metrics.family.clone(),
        );
        metrics
    }

    /// Shows the outcomes of a lane under this name, such as `shop/fcm`: from 0, or with what was counted before the name was
    /// known.
    pub fn name_lane(&self, lane: LaneId, name: &str) {
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        let named = final_statuses().map(|status| {
            let labels = DeliveryLabels { lane: name.to_owned(), status: status.as_str() };
            self.family.get_or_create_owned(&labels)
        });
        let named: Vec<Counter> = named.collect();
        if let Some(unnamed) = lanes.insert(lane, named.clone()) {
            let is_same = |(a, b): (&Counter, &Counter)| std::ptr::eq(a.inner(), b.inner());
            if !unnamed.iter().zip(&named).all(is_same) {
                unnamed.iter().zip(&named).for_each(|(unnamed, named)| {
                    named.inc_by(unnamed.get());
                });
            }
        }
    }

    /// Counts devices of a lane that ended with this status, and that a commit made durable. `pending` is not counted: it is
    /// no end.
    pub fn count(&self, lane: LaneId, status: DeliveryStatus, devices: u64) {
        let Some(place) = final_statuses().position(|other| other == status) else { return };
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(counters) = lanes.get(&lane) {
            counters[place].inc_by(devices);
            return;
        }
        drop(lanes);
        let mut lanes = self.lanes.write().unwrap_or_else(PoisonError::into_inner);
        let unnamed = || final_statuses().map(|_| Counter::default()).collect();
        lanes.entry(lane).or_insert_with(unnamed)[place].inc_by(devices);
    }
}

impl DeliveryMetrics {
    /// Devices of a lane that were accepted, and those that ended otherwise and were not cancelled, as this node committed.
    pub fn ended(&self, lane: LaneId) -> (u64, u64) {
        let lanes = self.lanes.read().unwrap_or_else(PoisonError::into_inner);
        let Some(counters) = lanes.get(&lane) else { return (0, 0) };
        let (mut accepted, mut failed) = (0, 0);
        for (status, counter) in final_statuses().zip(counters) {
            match status {
                DeliveryStatus::Accepted => accepted += counter.get(),
                DeliveryStatus::Cancelled | DeliveryStatus::Pending => {}
                DeliveryStatus::Unknown
                | DeliveryStatus::Rejected
                | DeliveryStatus::TokenDead
                | DeliveryStatus::Expired => failed += counter.get(),
            }
        }
        (accepted, failed)
    }
}

/// The statuses of final outcomes.
fn final_statuses() -> impl Iterator<Item = DeliveryStatus> {
    DeliveryStatus::ALL.iter().copied().filter(|status| *status != DeliveryStatus::Pending)
}

#[cfg(test)]
mod tests {
    use super::super::{Exposition, Metrics};
    use super::*;

    #[test]
    fn what_is_counted_before_the_name_of_a_lane_is_known_is_shown_once_it_is() {
        let metrics = Metrics::new();
        let line = |status: &str, count| {
            format!("pushpost_deliveries_total{{lane=\"shop/fcm\",status=\"{status}\"}} {count}\n")
        };
        metrics.deliveries.count(LaneId(7), DeliveryStatus::Expired, 3);
        assert!(!metrics.expose(Exposition::Text).contains("shop/fcm"));
        for _ in 0..2 {
            metrics.deliveries.name_lane(LaneId(7), "shop/fcm");
            let text = metrics.expose(Exposition::Text);
            assert!(text.contains(&line("expired", 3)) && text.contains(&line("accepted", 0)), "{text}");
        }
        metrics.deliveries.count(LaneId(7), DeliveryStatus::Expired, 2);
        metrics.deliveries.count(LaneId(7), DeliveryStatus::Pending, 2);
        assert!(metrics.expose(Exposition::Text).contains(&line("expired", 5)));
    }
}
