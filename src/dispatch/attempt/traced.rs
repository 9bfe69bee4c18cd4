//! The spans of attempts.

use tokio::time::Instant;

use super::consequences;
use crate::dispatch::ready_device::ReadyDevice;
use crate::domain::{AppId, InstallationKey, Outcome};
use crate::provider::ExchangeNote;
use crate::telemetry::trace::{AttemptSpan, Tracer};

/// Writes the spans of one lane's attempts.
#[derive(Debug)]
pub(in crate::dispatch) struct AttemptTracer {
    pub(in crate::dispatch) tracer: Tracer,
    /// Makes the public ids of devices.
    pub(in crate::dispatch) installation: InstallationKey,
    pub(in crate::dispatch) app: AppId,
}

impl AttemptTracer {
    /// Where the provider's client notes the request.
    pub(super) fn note(&self, device: &ReadyDevice) -> ExchangeNote {
        let is_traced = self.tracer.is_on() && device.ticket.leased_job().trace.is_some();
        if is_traced { ExchangeNote::of_traced() } else { ExchangeNote::default() }
    }

    /// Writes the span of an attempt, if it gets one.
    pub(super) fn write(
        &self,
        device: &ReadyDevice,
        note: &ExchangeNote,
        outcome: &Outcome,
        (began, ended): (Instant, Instant),
    ) {
        let Some(trace) = &device.ticket.leased_job().trace else { return };
        let is_accepted = matches!(outcome, Outcome::Accepted { .. });
        if !note.is_traced() || !trace.wants_attempt(is_accepted) {
            return;
        }
        let request = note.url();
        let authority = request.as_ref().map(|request| &request.authority);
        let (name, reason) = consequences::log_name(outcome);
        let reason = reason.map(|reason| reason.as_str()).or((!is_accepted).then_some(name));
        self.tracer.write(AttemptSpan {
            trace,
            host: authority.map(|authority| authority.host()),
            port: authority.map(|authority| authority.port_u16().unwrap_or(443)),
            url: request.as_ref().map(|request| request.url.as_str()),
            status: note.status(),
            resends: note.sends().saturating_sub(1),
            outcome: name,
            reason,
            device: self.installation.device_id(self.app, device.ticket.device()),
            began,
            ended,
        });
    }
}
