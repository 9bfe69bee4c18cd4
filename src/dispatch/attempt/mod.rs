//! One attempt at one device: begin, send, report, decide, end.
//!
//! The lane's worker and its isolated attempts run attempts. What an answer means is decided by pure functions in
//! [`consequences`] (for the lane and the token) and [`decision`] (for the device).
//!
//! One result has these stages:
//!
//! | stage | what it says | made by |
//! |---|---|---|
//! | response | status, headers and body, as the provider sent them | `provider::transport` |
//! | `Classification` | what the response means, also for connection and credential | each provider's `response` |
//! | [`Outcome`] | what the attempt came to: the part of the classification that is recorded | the provider's client |
//! | [`Reply`] | the outcome, and whether it says something about the lane | `dispatch::credentials` |
//! | [`Attribution`] | whether the reply counts for the device or for the lane | `dispatch::health` |
//! | [`Disposition`] | what the recorder does with the device: final outcome, retry, return to its job | [`decision`] |
//! | [`Conclusion`] | the disposition, and what the attempt showed about the token | [`Attempter`] |
//! | `EndedDevice` | a disposition that waits to be recorded in a receipt | `queue::recorder` |

mod consequences;
mod decision;
mod line;
mod meter;
pub(super) mod traced;
mod validity;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::credentials::LaneCredentials;
use super::credentials::send::{Reply, Request};
use super::disposition::{Conclusion, rejected};
use super::environment_probe::EnvironmentProbes;
use super::expiry::conclude_expired;
use super::fcm_apns_key::FcmApnsKey;
use super::health::{Attribution, Generation, LaneEvent, LaneGate, ProbeTarget};
use super::limits::concurrency::ConcurrencyLimit;
use super::limits::quota::{LaneQuota, Quota, QuotaUnit};
use super::panics;
use super::ready_device::ReadyDevice;
use crate::domain::{InstallationKey, MisconfigurationScope, Outcome, PushpostReason, RetryPolicy};
use crate::provider::{Attempt, ExchangeNote, Validity};
use crate::pruning::{PruningGuard, TokenSignal};
use crate::queue::attempt_tally::AttemptTally;
use crate::queue::lane_intake::LeasedJob;
use crate::queue::node_lease::NodeLease;
use crate::queue::recorder::Disposition;
use decision::DeviceState;
use line::AttemptLine;
pub(in crate::dispatch) use meter::AttemptMeter;
use meter::StreamTime;
use traced::AttemptTracer;
use validity::AttemptValidity;

/// Nothing happened to the device.
const RETURNED: Conclusion = (Disposition::Returned, None);

/// Makes the attempts of one lane.
#[derive(Debug)]
pub(super) struct Attempter {
    /// As logs name the lane.
    pub(super) lane: String,
    pub(super) node_lease: Arc<NodeLease>,
    pub(super) installation: InstallationKey,
    pub(super) retry: RetryPolicy,
    /// Time that the provider has to answer.
    pub(super) timeout: Duration,
    pub(super) gate: Arc<LaneGate>,
    pub(super) credentials: Arc<LaneCredentials>,
    pub(super) limit: Arc<ConcurrencyLimit>,
    pub(super) quota: Arc<LaneQuota>,
    pub(super) guard: Arc<PruningGuard>,
    pub(super) environments: Arc<EnvironmentProbes>,
    pub(super) fcm_apns_key: FcmApnsKey,
    pub(super) tracer: AttemptTracer,
    pub(super) meter: AttemptMeter,
}

impl Attempter {
    /// Sends one device and records how the attempt ended. If the attempt panics, this device alone is rejected: given
    /// back, the device would panic again for ever (docs/queue.md#panics).
    ///
    /// `unit`: what the attempt takes of the project's quota, given back if no request is written.
    pub(super) async fn run(&self, device: ReadyDevice, generation: Generation, mut unit: Option<QuotaUnit>) {
        let began = Instant::now();
        let leased = device.ticket.leased_job();
        if !self.node_lease.may_start_at(leased.node, began) {
            return;
        }
        let stream = StreamTime::new(began);
        let concluded = {
            // Pinned here, because moving the future for each device costs more than what it does.
            let attempt = pin!(self.attempt(&device, began, &stream, generation, &mut unit));
            panics::caught_in(attempt, &self.lane, leased.job.notification).await
        };
        if concluded.is_none() {
            spend(&mut unit);
        }
        let (disposition, finding) =
            concluded.unwrap_or_else(|| (rejected(PushpostReason::Internal, true), None));
        self.meter.measure_wait(&leased.job, &disposition, &stream, self.node_lease.clock());
        device.ticket.end(disposition, stream.sent_from(), finding);
    }

    async fn attempt(
        &self,
        device: &ReadyDevice,
        began: Instant,
        stream: &StreamTime,
        generation: Generation,
        unit: &mut Option<QuotaUnit>,
    ) -> Conclusion {
        let (job, once) = (&device.ticket.leased_job().job, device.notification.once);
        let clock = self.node_lease.clock();
        let probe = self.environments.probe(job, device.ticket.device(), &device.token);
        // This node's copy of Postgres's clock may be late by a round trip. `now` is never before `due_at`, so the
        // remaining time never exceeds the time to live: FCM refuses more than 28 days.
        let now = clock.at(began).max(job.due_at);
        if let Some(conclusion) = conclude_expired(device, &self.environments, now) {
            return conclusion;
        }
        // An answer concerns the project that was asked, also if the lane changes to another one meanwhile.
        let quota = self.quota.current();
        let exchange = self.tracer.note(device);
        let sent = self.send(device, stream, generation, &exchange).await;
        let Some(mut reply) = sent else { return RETURNED };
        let ended = Instant::now();
        self.meter.count(job, &reply.outcome, stream, ended);
        if reply.outcome == Outcome::Withdrawn {
            return RETURNED;
        }
        spend(unit);
        self.note_answer(device.ticket.leased_job(), &reply.outcome, &exchange, now, (began, ended));
        self.tracer.write(device, &exchange, &reply.outcome, (began, ended));
        if let Some(probe) = &probe {
            probe.attribute(&mut reply);
        }
        let attribution = self.report(&reply, generation, device.target(), quota.as_deref());
        if let Some(probe) = probe {
            return probe.conclude(reply.outcome);
        }
        // With a `ttl` of 0 there is no second attempt, so this outcome is final.
        if attribution == Attribution::Lane && !once {
            return RETURNED;
        }
        if let Some(disposition) = self.environments.other_environment(job, once, now, &reply.outcome) {
            self.guard.count(TokenSignal::MayBeAlive);
            return (disposition, None);
        }
        if let Some(signal) = consequences::token_signal(&reply.outcome) {
            self.guard.count(signal);
        }
        let finding = consequences::finding(&reply.outcome, job, device.ticket.device(), &device.token, now);
        let state = DeviceState { job, once, now: clock.at(ended), retry: self.retry };
        (state.disposition(reply.outcome, rand::random()), finding)
    }

    /// None: the attempt is not valid any more.
    async fn send(
        &self,
        device: &ReadyDevice,
        stream: &StreamTime,
        generation: Generation,
        exchange: &ExchangeNote,
    ) -> Option<Reply> {
        let leased = device.ticket.leased_job();
        let job = &leased.job;
        let validity = AttemptValidity {
            node_lease: &self.node_lease,
            node: leased.node,
            expires_at: job.expires_at,
            gate: &self.gate,
            generation,
        };
        // Asked once a stream is open, right before the request is written.
        let is_valid = || {
            let now = Instant::now();
            let is_valid = validity.is_valid(now);
            if is_valid {
                stream.note(now);
            }
            is_valid
        };
        let begin = |timeout| {
            let moment = Instant::now();
            validity.is_valid(moment).then(|| Attempt {
                token: &device.token,
                message_id: self.installation.message_id(job.notification, device.ticket.device()),
                now: self.node_lease.clock().at(moment).max(job.due_at),
                expires_at: job.expires_at,
                once: device.notification.once,
                deadline: moment + timeout,
                validity: Validity(&is_valid),
                exchange: Some(exchange),
            })
        };
        let (gate, notification) = (&*self.gate, &*device.notification);
        self.credentials.send(Request { gate, notification, timeout: self.timeout, begin }).await
    }

    /// Measures and logs an attempt, and reports a refused key that is stored at Firebase.
    fn note_answer(
        &self,
        leased: &LeasedJob,
        outcome: &Outcome,
        exchange: &ExchangeNote,
        attempted_at: DateTime<Utc>,
        (began, ended): (Instant, Instant),
    ) {
        let took = ended - began;
        self.limit.answered(ended, took);
        self.log(leased, outcome, exchange, (attempted_at - leased.job.due_at).num_milliseconds(), took);
        if let Outcome::Misconfigured { reason, about: MisconfigurationScope::StoredKey } = outcome {
            self.fcm_apns_key.report_refusal(&self.lane, reason);
        }
    }

    /// Tells the lane's gate and limits what the reply says about the lane, and learns whether it counts for the device.
    fn report(
        &self,
        reply: &Reply,
        generation: Generation,
        target: ProbeTarget,
        quota: Option<&Quota>,
    ) -> Attribution {
        // The other lanes of the project have to wait as long.
        if let (Some(quota), Some((wait, reason))) = (quota, consequences::project_wait(reply)) {
            quota.wait_until(Instant::now() + wait, reason);
        }
        let Some(event) = consequences::lane_event(reply, generation, target) else {
            return Attribution::Device;
        };
        let is_success = matches!(event, LaneEvent::Succeeded(_));
        let attribution = self.gate.on(event);
        if is_success {
            self.limit.grow();
        }
        attribution
    }

    /// One line per attempt. At `info` is what was not accepted, so that an operator sees why a push was late; of a job with many
    /// devices all attempts have one such line together ([`AttemptTally`]).
    fn log(
        &self,
        leased: &LeasedJob,
        outcome: &Outcome,
        exchange: &ExchangeNote,
        waited_ms: i64,
        took: Duration,
    ) {
        let (outcome_name, reason) = consequences::log_name(outcome);
        let is_quiet = consequences::is_quiet(outcome);
        let (lane, job) = (self.lane.as_str(), &leased.job);
        let is_counted = AttemptTally::is_for(job);
        if is_counted {
            leased.attempts.add(lane, job, outcome_name, reason, !is_quiet);
        }
        let line = AttemptLine {
            lane,
            job,
            outcome: outcome_name,
            reason: reason.map(|reason| reason.as_str()),
            waited_ms,
            provider_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            exchange,
        };
        line.log(is_quiet || is_counted);
    }
}

fn spend(unit: &mut Option<QuotaUnit>) {
    if let Some(unit) = unit.take() {
        unit.spend();
    }
}
