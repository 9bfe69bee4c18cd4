//! Turns a job or a receipt, which covers many devices, into one delivery per device. Pure functions.

use bit_vec::BitVec;
use chrono::{DateTime, Utc};

use super::{Delivery, DeliveryFilter};
use crate::domain::{DeliveryStatus, DeviceId, LaneId, OutcomeByte, ReceiptReasons, References};
use crate::store::Error;

/// A job as the list of deliveries reads it.
#[derive(Debug)]
pub(super) struct JobRow {
    pub(super) job_id: i64,
    pub(super) lane_id: i32,
    pub(super) attempt: i16,
    pub(super) devices: Vec<i64>,
    pub(super) done: Option<BitVec>,
    pub(super) reason: Option<String>,
    pub(super) last_reason: Option<String>,
    pub(super) next_attempt_at: Option<DateTime<Utc>>,
}

/// A receipt as the list of deliveries reads it.
#[derive(Debug)]
pub(super) struct ReceiptRow {
    pub(super) receipt_id: i64,
    pub(super) lane_id: i32,
    pub(super) recorded_at: DateTime<Utc>,
    pub(super) attempt: i16,
    pub(super) devices: Vec<i64>,
    pub(super) outcomes: Vec<u8>,
    pub(super) reasons: Option<Vec<Option<String>>>,
    pub(super) reason_indexes: Option<Vec<u8>>,
    pub(super) last_reason: Option<String>,
    pub(super) provider_ids: Option<Vec<Option<String>>>,
}

impl JobRow {
    /// Adds the devices that are still in the job, without the first `passed`, until there are `limit` items. Then it
    /// returns how many devices were passed. None: all of them.
    pub(super) fn unfold(
        &self,
        passed: i32,
        filter: &DeliveryFilter,
        limit: usize,
        items: &mut Vec<Delivery>,
    ) -> Option<i32> {
        for (i, device) in self.devices.iter().enumerate().skip(usize::try_from(passed).unwrap_or_default()) {
            let left = self.done.as_ref().is_some_and(|done| done.get(i) == Some(true));
            if left || !filter.admits_device(*device) {
                continue;
            }
            if items.len() >= limit {
                return i32::try_from(i).ok();
            }
            items.push(Delivery {
                device: DeviceId(*device),
                written_platform: None,
                user: None,
                references: References::default(),
                lane: LaneId(self.lane_id),
                status: DeliveryStatus::Pending,
                attempts: attempts(self.attempt, true),
                reason: self.reason.clone(),
                last_reason: self.last_reason.clone(),
                provider_id: None,
                at: None,
                next_attempt_at: self.next_attempt_at,
                is_erased: false,
            });
        }
        None
    }
}

impl ReceiptRow {
    /// As [`JobRow::unfold`], for final outcomes. A device that went on to another job is pending, and listed there.
    pub(super) fn unfold(
        &self,
        passed: i32,
        filter: &DeliveryFilter,
        limit: usize,
        items: &mut Vec<Delivery>,
    ) -> Result<Option<i32>, Error> {
        let rows = self.devices.iter().zip(&self.outcomes).enumerate();
        for (i, (device, byte)) in rows.skip(usize::try_from(passed).unwrap_or_default()) {
            let odd = Error::Inconsistent { table: "receipts", column: "outcomes", row: self.receipt_id };
            let OutcomeByte { status, attempted } = OutcomeByte::decode(*byte).ok_or(odd)?;
            if status == DeliveryStatus::Pending || !filter.admits(status) || !filter.admits_device(*device) {
                continue;
            }
            if items.len() >= limit {
                return Ok(i32::try_from(i).ok());
            }
            items.push(Delivery {
                device: DeviceId(*device),
                written_platform: None,
                user: None,
                references: References::default(),
                lane: LaneId(self.lane_id),
                status,
                attempts: attempts(self.attempt, !attempted),
                last_reason: last_reason(self.reason(i), self.last_reason.clone(), attempted),
                reason: self.reason(i),
                provider_id: self.provider_ids.as_ref().and_then(|ids| ids.get(i).cloned().flatten()),
                at: Some(self.recorded_at),
                next_attempt_at: None,
                is_erased: false,
            });
        }
        Ok(None)
    }

    /// The byte is the word's index plus 1; 0 is none.
    fn reason(&self, i: usize) -> Option<String> {
        let position = ReceiptReasons::position(*self.reason_indexes.as_ref()?.get(i)?)?;
        self.reasons.as_ref()?.get(position).cloned().flatten()
    }
}

/// Number of attempts that have ended: all, or all but the present one.
pub(super) fn attempts(attempt: i16, without_present: bool) -> u16 {
    u16::try_from(attempt).unwrap_or_default().saturating_sub(u16::from(without_present))
}

/// The last reason that an attempt gave. `before` is that of the attempts before the present one.
pub(super) fn last_reason(reason: Option<String>, before: Option<String>, attempted: bool) -> Option<String> {
    reason.filter(|_| attempted).or(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt() -> ReceiptRow {
        ReceiptRow {
            receipt_id: 1,
            lane_id: 3,
            recorded_at: DateTime::UNIX_EPOCH,
            attempt: 2,
            devices: vec![10, 11, 12, 13],
            // accepted, again, token dead, cancelled without an attempt
            outcomes: vec![1, 0, 3, 0x85],
            reasons: Some(vec![Some("Unregistered".to_owned()), Some("requested".to_owned())]),
            reason_indexes: Some(vec![0, 0, 1, 2]),
            last_reason: Some("ServiceUnavailable".to_owned()),
            provider_ids: Some(vec![Some("projects/p/messages/1".to_owned()), None, None, None]),
        }
    }

    fn unfolded(filter: &DeliveryFilter, passed: i32, limit: usize) -> (Vec<Delivery>, Option<i32>) {
        let mut items = Vec::new();
        let next = receipt().unfold(passed, filter, limit, &mut items).expect("known outcomes");
        (items, next)
    }

    #[test]
    fn a_receipt_lists_what_ended_in_it_and_not_what_went_on() {
        let (items, next) = unfolded(&DeliveryFilter::default(), 0, 10);
        let lines: Vec<_> = items
            .iter()
            .map(|item| (item.device.0, item.status.as_str(), item.attempts, item.reason.as_deref()))
            .collect();
        assert_eq!(
            lines,
            [
                (10, "accepted", 2, None),
                (12, "token_dead", 2, Some("Unregistered")),
                (13, "cancelled", 1, Some("requested")),
            ]
        );
        assert_eq!(items[0].provider_id.as_deref(), Some("projects/p/messages/1"));
        let last: Vec<_> = items.iter().map(|item| item.last_reason.as_deref().expect("one")).collect();
        assert_eq!(last, ["ServiceUnavailable", "Unregistered", "ServiceUnavailable"]);
        assert_eq!(next, None);
    }

    #[test]
    fn a_page_ends_before_the_first_item_that_does_not_fit() {
        let all = DeliveryFilter::default();
        let (items, next) = unfolded(&all, 0, 1);
        assert_eq!((items.len(), next), (1, Some(2)));
        let (items, next) = unfolded(&all, 2, 2);
        assert_eq!((items.len(), next), (2, None));
    }

    #[test]
    fn filters_hold_within_a_receipt() {
        let dead = DeliveryFilter { statuses: vec![DeliveryStatus::TokenDead], ..DeliveryFilter::default() };
        assert_eq!(unfolded(&dead, 0, 9).0.len(), 1);
        let one = DeliveryFilter { devices: Some(vec![DeviceId(13)]), ..DeliveryFilter::default() };
        assert_eq!(unfolded(&one, 0, 9).0[0].device, DeviceId(13));
    }

    #[test]
    fn an_unknown_outcome_is_an_error() {
        let odd = ReceiptRow { outcomes: vec![9, 0, 0, 0], ..receipt() };
        assert!(odd.unfold(0, &DeliveryFilter::default(), 9, &mut Vec::new()).is_err());
    }

    #[test]
    fn a_job_lists_what_is_left_of_it() {
        let mut done = BitVec::from_elem(3, false);
        done.set(1, true);
        let job = JobRow {
            job_id: 1,
            lane_id: 3,
            attempt: 2,
            devices: vec![5, 6, 7],
            done: Some(done),
            reason: Some("lane_paused".to_owned()),
            last_reason: Some("InternalServerError".to_owned()),
            next_attempt_at: None,
        };
        let mut items = Vec::new();
        assert_eq!(job.unfold(0, &DeliveryFilter::default(), 1, &mut items), Some(2));
        assert_eq!(job.unfold(2, &DeliveryFilter::default(), 2, &mut items), None);
        let lines: Vec<_> = items.iter().map(|item| (item.device.0, item.attempts)).collect();
        assert_eq!(lines, [(5, 1), (7, 1)]);
    }
}
