//! Counts the attempts of a job with many devices, so that the log has one line for all of them (docs/logs.md#attempts).

use std::sync::{Mutex, PoisonError};

use crate::domain::{Job, Reason};
use crate::telemetry::ATTEMPT_TARGET;

/// Of a job with more devices, not every attempt has a line of its own.
const LINES_MAX: usize = 20;
/// Reasons that the line of a job names: those that came first.
const REASONS_MAX: usize = 3;

/// The attempts of one job. When it is dropped with the job, it logs what was not accepted.
#[derive(Debug, Default)]
pub struct AttemptTally(Mutex<Option<Box<Tally>>>);

#[derive(Debug)]
struct Tally {
    lane: String,
    notification: String,
    attempt: u16,
    devices: usize,
    /// How often each outcome came.
    counts: Vec<(&'static str, u32)>,
    reasons: Vec<String>,
    is_remarkable: bool,
}

impl AttemptTally {
    /// True if the attempts of the job are counted, and have no lines of their own.
    pub fn is_for(job: &Job) -> bool {
        job.devices.len() > LINES_MAX
    }

    /// Counts one attempt. `outcome` is how the log names it; the job is logged if one of them `is_remarkable`.
    pub fn add(
        &self,
        lane: &str,
        job: &Job,
        outcome: &'static str,
        reason: Option<&Reason>,
        is_remarkable: bool,
    ) {
        let mut tally = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = tally.get_or_insert_with(|| Box::new(Tally::new(lane, job)));
        match tally.counts.iter_mut().find(|(name, _)| *name == outcome) {
            Some((_, count)) => *count += 1,
            None => tally.counts.push((outcome, 1)),
        }
        tally.is_remarkable |= is_remarkable;
        if let Some(reason) = reason
            && tally.reasons.len() < REASONS_MAX
            && tally.reasons.iter().all(|known| known != reason.as_str())
        {
            tally.reasons.push(reason.as_str().to_owned());
        }
    }
}

impl Drop for AttemptTally {
    fn drop(&mut self) {
        let tally = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(tally) = tally.take().filter(|tally| tally.is_remarkable) {
            tally.log();
        }
    }
}

impl Tally {
    fn new(lane: &str, job: &Job) -> Self {
        Self {
            lane: lane.to_owned(),
            notification: job.notification.to_string(),
            attempt: job.attempt,
            devices: job.devices.len(),
            counts: Vec::new(),
            reasons: Vec::new(),
            is_remarkable: false,
        }
    }

    fn log(&self) {
        let count = |outcome| self.counts.iter().find(|(name, _)| *name == outcome).map(|(_, count)| *count);
        tracing::info!(
            target: ATTEMPT_TARGET,
            lane = self.lane,
            notification = self.notification,
            attempt = self.attempt,
            devices = self.devices,
            accepted = count("accepted"),
            retry = count("retry"),
            lane_retry = count("lane_retry"),
            token_dead = count("token_dead"),
            token_doubtful = count("token_doubtful"),
            rejected = count("rejected"),
            misconfigured = count("misconfigured"),
            unknown = count("unknown"),
            withdrawn = count("withdrawn"),
            reasons = (!self.reasons.is_empty()).then(|| self.reasons.join(", ")),
            "attempts of a job ended"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Class, DeviceId, JobId, LaneId, NotificationId, Priority};
    use crate::telemetry::captured;

    fn job(devices: i64) -> Job {
        Job {
            id: JobId(1),
            notification: NotificationId(uuid::Uuid::nil()),
            lane: LaneId(3),
            priority: Priority::Normal,
            class: Class::Bulk,
            version: 0,
            attempt: 2,
            unanswered: 0,
            in_doubt: false,
            node_deaths: 0,
            due_at: chrono::DateTime::UNIX_EPOCH,
            expires_at: chrono::DateTime::UNIX_EPOCH,
            last_reason: None,
            environment_probe_since: None,
            trace: None,
            devices: (1..=devices).map(DeviceId).collect(),
            done: None,
        }
    }

    #[test]
    fn a_large_job_has_one_line_with_counts_and_the_first_reasons() {
        assert!(AttemptTally::is_for(&job(21)) && !AttemptTally::is_for(&job(20)));
        let lines = captured(|| {
            let tally = AttemptTally::default();
            for _ in 0..480 {
                tally.add("shop/fcm", &job(500), "accepted", None, false);
            }
            for (outcome, word) in [
                ("retry", "UNAVAILABLE"),
                ("rejected", "INVALID_ARGUMENT"),
                ("retry", "UNAVAILABLE"),
                ("token_dead", "UNREGISTERED"),
                ("rejected", "THE_FOURTH"),
            ] {
                tally.add("shop/fcm", &job(500), outcome, Some(&Reason::new(word)), true);
            }
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        for part in [
            "INFO pushpost::attempt: attempts of a job ended lane=\"shop/fcm\"",
            "attempt=2 devices=500 accepted=480 retry=2 token_dead=1 rejected=2",
            "reasons=\"UNAVAILABLE, INVALID_ARGUMENT, UNREGISTERED\"",
        ] {
            assert!(lines[0].contains(part), "{part}: {lines:?}");
        }
    }

    #[test]
    fn a_job_of_which_all_was_accepted_has_no_line() {
        let lines = captured(|| {
            let tally = AttemptTally::default();
            tally.add("shop/fcm", &job(500), "accepted", None, false);
        });
        assert_eq!(lines, [] as [String; 0]);
    }
}
