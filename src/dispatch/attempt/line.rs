//! The log line of an attempt (docs/logs.md#attempts).

use crate::domain::Job;
use crate::provider::ExchangeNote;
use crate::telemetry::ATTEMPT_TARGET;

/// What the log says of an attempt.
pub(super) struct AttemptLine<'a> {
    pub(super) lane: &'a str,
    pub(super) job: &'a Job,
    pub(super) outcome: &'static str,
    pub(super) reason: Option<&'a str>,
    /// Since the job was due.
    pub(super) waited_ms: i64,
    /// From the begin of the attempt to its answer.
    pub(super) provider_ms: u64,
    /// What the provider's client noted of the request.
    pub(super) exchange: &'a ExchangeNote,
}

impl AttemptLine<'_> {
    pub(super) fn log(&self, is_quiet: bool) {
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: ATTEMPT_TARGET,
                    lane = self.lane,
                    notification = %self.job.notification,
                    attempt = self.job.attempt,
                    outcome = self.outcome,
                    reason = self.reason,
                    waited_ms = self.waited_ms,
                    provider_ms = self.provider_ms,
                    provider_status = self.exchange.status(),
                    connection = self.exchange.connection(),
                    trace_id = self.job.trace.map(tracing::field::display),
                    "attempt ended"
                )
            };
        }
        if is_quiet { line!(debug) } else { line!(info) }
    }
}
