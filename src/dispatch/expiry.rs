//! Devices with no time left end without an attempt, wherever they wait (docs/queue.md#expiry): in the queue of a lane
//! that sends slowly, or in front of their attempt.

use chrono::{DateTime, Utc};

use super::disposition::{Conclusion, expired_before_attempt};
use super::environment_probe::EnvironmentProbes;
use super::ready_device::ReadyDevice;

/// How a device ends that has no time left at `now` (Postgres's clock); none: an attempt may begin. An environment probe
/// leaves the first verdict, unless a node that died may have made it.
pub(super) fn conclude_expired(
    ready: &ReadyDevice,
    environments: &EnvironmentProbes,
    now: DateTime<Utc>,
) -> Option<Conclusion> {
    let job = &ready.ticket.leased_job().job;
    if now < job.expires_at {
        return None;
    }
    let probe = environments.probe(job, ready.ticket.device(), &ready.token);
    Some(match probe.filter(|_| !job.in_doubt) {
        Some(probe) => probe.expire(),
        None => (expired_before_attempt(job), None),
    })
}
