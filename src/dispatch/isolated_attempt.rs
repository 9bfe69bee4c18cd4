//! One device at a time: the probe of a lane that stopped, and what is left of a job that may be what kills its nodes
//! (docs/queue.md#isolated-attempt). The rest of the job is given back as it was, so each outcome is on record before
//! the next device is tried, and nothing else of the job is at stake.

use tokio::time::Instant;

use crate::dispatch::attempt;
use crate::dispatch::health::Admission;
use crate::dispatch::lane::Lane;
use crate::dispatch::prefetch::load::{JobLoader, OpenedJob};
use crate::dispatch::rejected;
use crate::domain::{PushpostReason, Suspicion};
use crate::queue::lane_intake::LeasedJob;
use crate::queue::recorder::DeviceTicket;
use crate::store;

/// Tries the first device of a job that can be sent.
///
/// # Errors
/// Its tokens could not be loaded; the whole job is given back.
pub(super) async fn try_one(
    lane: &Lane,
    loader: &mut JobLoader,
    held: LeasedJob,
) -> Result<(), store::Error> {
    let suspicion = held.job.suspicion();
    let _one_at_a_time = match suspicion {
        Suspicion::None => None,
        _ => Some(lane.shared.isolation.lock().await),
    };
    let (held, mut tickets) = lane.shared.recorder.open(held);
    let job = &held.job;
    match suspicion {
        Suspicion::None => {}
        Suspicion::Isolated => tracing::warn!(
            lane = lane.name, notification = %job.notification, job = job.id.0, lost = job.node_deaths,
            "a job was lost with its node more than once: its devices are tried one at a time"
        ),
        Suspicion::NextIsGuilty => {
            tickets.truncate(1);
            reject(lane, tickets);
            return Ok(());
        }
        Suspicion::AllAreGuilty => {
            reject(lane, tickets);
            return Ok(());
        }
    }
    let opened = OpenedJob::new(held, tickets, false);
    let mut ready = loader.load(&lane.shared, &lane.setup, vec![opened]).await?;
    if ready.is_empty() {
        return Ok(());
    }
    let (admission, generation) = lane.gate.phase();
    let _probe = match admission {
        Admission::Send => None,
        Admission::Probe => match lane.gate.begin_probe(generation) {
            Some(probe) => Some(probe),
            None => return Ok(()),
        },
        Admission::Wait(_) => return Ok(()),
    };
    // Not the device of the last failed probe, if the job has another: that device itself may have been the cause.
    let last = lane.gate.last_probe();
    let other = ready.iter().position(|ready| Some(ready.who()) != last);
    let first = ready.swap_remove(other.unwrap_or_default());
    if admission == Admission::Probe {
        lane.limit.shrink();
    }
    let _place = lane.limit.enter();
    attempt::run(lane, first, generation).await;
    Ok(())
}

fn reject(lane: &Lane, tickets: Vec<DeviceTicket>) {
    for ticket in tickets {
        let job = &ticket.leased_job().job;
        tracing::error!(
            lane = lane.name, notification = %job.notification, job = job.id.0, lost = job.node_deaths,
            "a device is rejected unsent: one node after the other died while it was being tried"
        );
        ticket.end(rejected(PushpostReason::Internal, false), Instant::now(), None);
    }
}
