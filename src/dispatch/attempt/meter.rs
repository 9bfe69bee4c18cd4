//! Counts the attempts of a lane: outcomes, reasons, and the times of the provider and of the whole way to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::consequences;
use crate::domain::{Certainty, Class, Job, OBJECTIVE_TIME, Outcome, PushpostReason, has_objective};
use crate::provider::Provider;
use crate::queue::clock::Clock;
use crate::queue::recorder::Disposition;
use crate::telemetry::metrics::{AttemptOutcome, LaneMetrics, Metrics, reason_label};

/// Counts the attempts of one lane.
#[derive(Debug)]
pub(in crate::dispatch) struct AttemptMeter {
    metrics: Arc<Metrics>,
    lane: Arc<LaneMetrics>,
    /// The reasons that the provider is known to give.
    reasons: &'static [&'static str],
}

impl AttemptMeter {
    pub(in crate::dispatch) fn new(
        metrics: &Arc<Metrics>,
        lane: &Arc<LaneMetrics>,
        provider: &'static dyn Provider,
    ) -> Self {
        Self { metrics: Arc::clone(metrics), lane: Arc::clone(lane), reasons: provider.reasons() }
    }

    /// Counts what came of an attempt that may have opened a stream.
    pub(super) fn count(&self, job: &Job, outcome: &Outcome, stream: &StreamTime, ended: Instant) {
        self.lane.attempts(word(outcome)).inc();
        let reason = match outcome {
            Outcome::Unknown => Some(PushpostReason::NoAnswer.as_str()),
            _ => consequences::log_name(outcome).1.map(|reason| reason.as_str()),
        };
        if let Some(reason) = reason {
            self.lane.attempt_reasons(reason_label(reason, self.reasons)).inc();
        }
        let Some(opened) = stream.opened() else { return };
        if job.attempts_in_doubt() > 0 {
            self.lane.resends.inc();
        }
        if !matches!(outcome, Outcome::Unknown | Outcome::Withdrawn) {
            self.lane.provider_seconds.observe(ended - opened);
        }
    }

    /// Measures how long the device waited for its first attempt. An attempt that leaves the device in its job is not the
    /// first one: the device waits on.
    pub(super) fn measure_wait(
        &self,
        job: &Job,
        disposition: &Disposition,
        stream: &StreamTime,
        clock: &Clock,
    ) {
        let is_first = job.attempt == 1 && job.class != Class::Retry;
        if !is_first || *disposition == Disposition::Returned {
            return;
        }
        let Some(opened) = stream.opened() else { return };
        let waited = (clock.at(opened) - job.due_at).to_std().unwrap_or_default();
        self.metrics.lanes.post_to_provider_seconds(job.priority, job.class).observe(waited);
        if has_objective(job.class, job.priority) {
            self.lane.starts.count(waited > OBJECTIVE_TIME);
        }
        if let Some(trace) = job.trace {
            self.metrics.lanes.note_exemplar(job.priority, job.class, waited, trace);
        }
    }
}

fn word(outcome: &Outcome) -> AttemptOutcome {
    match outcome {
        Outcome::Accepted { .. } => AttemptOutcome::Accepted,
        Outcome::RetryTarget { .. } => AttemptOutcome::Retry,
        Outcome::RetryLane { .. } => AttemptOutcome::LaneRetry,
        Outcome::TokenDead { certainty: Certainty::Certain, .. } => AttemptOutcome::TokenDead,
        Outcome::TokenDead { .. } => AttemptOutcome::TokenDoubtful,
        Outcome::Rejected { .. } => AttemptOutcome::Rejected,
        Outcome::Misconfigured { .. } => AttemptOutcome::Misconfigured,
        Outcome::Unknown => AttemptOutcome::Unknown,
        Outcome::Withdrawn => AttemptOutcome::Withdrawn,
    }
}

/// When the stream of an attempt was opened. The attempt is asked whether it is valid at that moment, so this is noted there.
#[derive(Debug)]
pub(super) struct StreamTime {
    began: Instant,
    /// Nanoseconds after `began`, plus 1; 0: no stream was opened.
    opened_ns: AtomicU64,
}

impl StreamTime {
    pub(super) fn new(began: Instant) -> Self {
        Self { began, opened_ns: AtomicU64::new(0) }
    }

    /// A stream was opened. Of several streams of one attempt the last one counts.
    pub(super) fn note(&self, now: Instant) {
        let ns = u64::try_from((now - self.began).as_nanos()).unwrap_or(u64::MAX - 1);
        self.opened_ns.store(ns + 1, Ordering::Relaxed);
    }

    /// From when on the time is the provider's. Before a stream is open the device waits in the node: for a connection, for
    /// room on it, or for an access token. Without a stream, when the attempt began.
    pub(super) fn sent_from(&self) -> Instant {
        self.opened().unwrap_or(self.began)
    }

    fn opened(&self) -> Option<Instant> {
        let ns = self.opened_ns.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.began + Duration::from_nanos(ns))
    }
}
