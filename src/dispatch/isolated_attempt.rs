//! Tries one device of a job alone: as the probe of a lane that stopped, or because the job may kill its nodes
//! (docs/queue.md#isolated-attempt).
//!
//! The other devices of the job are given back first. So the outcome is recorded before the next device is tried, and a
//! death of the node can be blamed on one device. The prefetcher of the lane runs these attempts itself: each lane has one
//! at a time, and no lane waits for another. From its claim on a suspected job is leased, so a death of the node counts
//! for the job even before its attempt begins.

use std::sync::Arc;

use tokio::time::Instant;

use super::attempt::Attempter;
use super::disposition::rejected;
use super::health::{Admission, LaneGate};
use super::limits::concurrency::ConcurrencyLimit;
use super::ready_device::ReadyDevice;
use crate::domain::{PushpostReason, Suspicion};
use crate::queue::lane_intake::LeasedJob;
use crate::queue::recorder::{DeviceTicket, OutcomeRecorder};

/// Makes the isolated attempts of one lane.
#[derive(Debug)]
pub(super) struct IsolatedAttempts {
    pub(super) gate: Arc<LaneGate>,
    pub(super) limit: Arc<ConcurrencyLimit>,
    pub(super) recorder: OutcomeRecorder,
    pub(super) attempter: Arc<Attempter>,
}

impl IsolatedAttempts {
    /// Opens a job of which one device is to be tried. Devices that are judged to be the cause of node deaths are
    /// rejected unsent; none: there is nothing else to do with the job for now.
    pub(super) fn open(&self, held: LeasedJob) -> Option<(Arc<LeasedJob>, Vec<DeviceTicket>)> {
        let suspicion = held.job.suspicion();
        let (held, mut tickets) = self.recorder.open(held);
        let job = &held.job;
        match suspicion {
            Suspicion::None => {}
            Suspicion::Isolated => tracing::warn!(
                lane = self.gate.name(), notification = %job.notification, job = job.id.0, lost = job.node_deaths,
                detail = "its nodes died more than once; its devices are tried one at a time",
                "job is isolated"
            ),
            Suspicion::NextDeviceIsCause => {
                tickets.truncate(1);
                self.reject(tickets);
                return None;
            }
            Suspicion::AllDevicesAreCause => {
                self.reject(tickets);
                return None;
            }
        }
        Some((held, tickets))
    }

    /// Tries one of these devices of one job, and gives back the others.
    pub(super) async fn attempt_one(&self, mut devices: Vec<ReadyDevice>) {
        if devices.is_empty() {
            return;
        }
        let (admission, generation) = self.gate.admission();
        let _probe = match admission {
            Admission::Send => None,
            Admission::Probe => match self.gate.begin_probe(generation) {
                Some(probe) => Some(probe),
                None => return,
            },
            Admission::Wait(_) => return,
        };
        // Not the device of the last failed probe, if the job has another: that device itself may have been the cause.
        let last = self.gate.last_failed_probe();
        let other = devices.iter().position(|device| Some(device.target()) != last);
        let device = devices.swap_remove(other.unwrap_or_default());
        if admission == Admission::Probe {
            self.limit.shrink();
        }
        let _permit = self.limit.enter();
        self.attempter.run(device, generation, None).await;
    }

    fn reject(&self, tickets: Vec<DeviceTicket>) {
        for ticket in tickets {
            let job = &ticket.leased_job().job;
            tracing::error!(
                lane = self.gate.name(), notification = %job.notification, job = job.id.0, lost = job.node_deaths,
                "a device is rejected unsent because one node after the other died while trying it"
            );
            ticket.end(rejected(PushpostReason::Internal, false), Instant::now(), None);
        }
    }
}
