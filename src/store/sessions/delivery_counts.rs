//! Counts the final outcomes that sessions commit, whatever statement they come from.

use std::sync::OnceLock;

use super::{InTransaction, Session, SessionPool};
use crate::domain::{DeliveryStatus, LaneId};
use crate::telemetry::metrics::DeliveryMetrics;

/// Where final outcomes are counted. Empty: nowhere.
#[derive(Default)]
pub(super) struct DeliveryCounts(OnceLock<DeliveryMetrics>);

impl DeliveryCounts {
    /// Counts devices of a lane with an outcome that is committed.
    pub(super) fn add(&self, lane: LaneId, status: DeliveryStatus, devices: u64) {
        if let Some(deliveries) = self.0.get() {
            deliveries.count(lane, status, devices);
        }
    }
}

impl SessionPool {
    /// Has this pool and its siblings count the final outcomes that they commit. Called once, before the first of them.
    pub fn count_deliveries_in(&self, deliveries: DeliveryMetrics) {
        let _ = self.inner.shared.deliveries.0.set(deliveries);
    }

    /// Shows the final outcomes of a lane under this name, such as `shop/fcm`.
    pub fn name_lane(&self, lane: LaneId, name: &str) {
        if let Some(deliveries) = self.inner.shared.deliveries.0.get() {
            deliveries.name_lane(lane, name);
        }
    }

    /// Counts final outcomes that are known to be committed although the answer was lost.
    pub fn count_delivery(&self, lane: LaneId, status: DeliveryStatus, devices: u64) {
        self.inner.shared.deliveries.add(lane, status, devices);
    }
}

impl Session {
    /// Counts devices of a lane that a statement of this session has ended: at once, or after the commit of the present
    /// transaction. What is rolled back, or has no answer to its commit, is not counted.
    pub(in crate::store) fn count_delivery(&mut self, lane: LaneId, status: DeliveryStatus, devices: u64) {
        if devices == 0 {
            return;
        }
        match self.is_in_transaction() {
            InTransaction::No => self.pool.shared.deliveries.add(lane, status, devices),
            InTransaction::Yes | InTransaction::Abandoned => self.uncommitted.push((lane, status, devices)),
        }
    }
}
