//! One attempt, and what follows from its outcome.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use crate::dispatch::credentials::candidate::{self, Reply};
use crate::dispatch::environment_probe::{self, EnvironmentProbe};
use crate::dispatch::health::{self, Attribution, Generation};
use crate::dispatch::lane::Lane;
use crate::dispatch::prefetch::load::RenderedNotification;
use crate::dispatch::prefetch::queue::ReadyDevice;
use crate::dispatch::{fcm_apns_key, panics, rejected};
use crate::domain::{
    Certainty, DeliveryStatus, DeviceId, DeviceToken, FailureDomain, Finding, Job, LaneCause, MinDelay,
    MisconfigurationScope, NotificationId, Outcome, PushpostReason, Reason, RetryPolicy, TokenVerdict,
};
use crate::provider::{Attempt, Fingerprint, Validity};
use crate::pruning::TokenSignal;
use crate::queue::recorder::{DeviceTicket, Disposition};
use crate::store;

/// So many attempts of one device may end without an answer (docs/queue.md#attempts-in-doubt).
const UNSURE_MAX: u16 = 5;

/// Sends one device, records how it ended, and tells the lane's gate what the answer says about the lane. A device whose
/// attempt panics is rejected, and nobody else: given back, it would panic again for ever (docs/queue.md#panics).
pub(super) async fn run(lane: &Lane, ready: ReadyDevice, generation: Generation) {
    let ReadyDevice { ticket, token, plan, .. } = ready;
    let began = Instant::now();
    if !lane.shared.node_lease.may_start_at(ticket.leased_job().node, began) {
        return;
    }
    let made = {
        // Pinned here: what is moved for each device costs more than what it does.
        let made = pin!(make(lane, &ticket, &token, &plan, began, generation));
        panics::caught_in(made, &lane.name, ticket.leased_job().job.notification).await
    };
    let (ending, finding) = made.unwrap_or_else(|| (rejected(PushpostReason::Internal, true), None));
    ticket.end(ending, began, finding);
}

/// How the attempt ended, and what it showed about the token.
async fn make(
    lane: &Lane,
    ticket: &DeviceTicket,
    token: &DeviceToken,
    plan: &RenderedNotification,
    began: Instant,
    generation: Generation,
) -> (Disposition, Option<Finding>) {
    let node_lease = &lane.shared.node_lease;
    let job = &ticket.leased_job().job;
    let trial = EnvironmentProbe::of(lane, job, ticket.device(), token);
    // Our copy of Postgres's clock may be late by a round trip; no provider is told more life than was asked for, which
    // FCM refuses beyond 28 days.
    let clock = node_lease.clock();
    let now = clock.at(began).max(job.due_at);
    if now >= job.expires_at {
        return match trial.filter(|_| !job.in_doubt) {
            Some(trial) => trial.inconclusive(),
            None => (out_of_time(job, job.last_reason.clone()), None),
        };
    }
    // Each decision reads the clock once: for every device it costs as much as what is decided.
    let may = |at| node_lease.may_start_at(ticket.leased_job().node, at) && clock.at(at) < job.expires_at;
    let validity = || may(Instant::now()) && lane.gate.is_as_at(generation);
    let begin = |longest| {
        let at = Instant::now();
        may(at).then(|| Attempt {
            token,
            apns_id: lane.shared.installation.apns_id(job.notification, ticket.device()),
            now: clock.at(at).max(job.due_at),
            expires_at: job.expires_at,
            once: plan.once,
            deadline: at + longest,
            validity: Validity(&validity),
        })
    };
    let Some(Reply { outcome, of_current, overridden }) = candidate::send(lane, plan, begin).await else {
        return (Disposition::Returned, None);
    };
    if outcome == Outcome::Withdrawn {
        return (Disposition::Returned, None);
    }
    let waited_ms = (now - job.due_at).num_milliseconds();
    lane.ended.fetch_add(1, Ordering::Relaxed);
    let ended = Instant::now();
    let took = ended - began;
    lane.limit.answered(ended, took);
    log(lane, job, &outcome, waited_ms, took);
    if let Outcome::Misconfigured { reason, about: MisconfigurationScope::StoredKey } = &outcome {
        lane.third_party.refused(&lane.name, reason);
    }
    // What a trial meets is no fault of the lane's own: a key that serves one environment only is refused in the other.
    let of_lane = of_current && (trial.is_none() || !matches!(outcome, Outcome::Misconfigured { .. }));
    let attribution = if of_lane {
        tell_gate(lane, generation, (job.notification, ticket.device()), &outcome, overridden).await
    } else {
        Attribution::Device
    };
    if let Some(trial) = trial {
        return trial.end(outcome);
    }
    // Now or never has had its one attempt.
    if attribution == Attribution::Lane && !plan.once {
        return (Disposition::Returned, None);
    }
    if let Some(ending) = environment_probe::other_environment(lane, job, plan.once, now, &outcome) {
        lane.guard.count(TokenSignal::Other);
        return (ending, None);
    }
    count(lane, &outcome);
    let after = After { job, once: plan.once, now: clock.at(ended), retry: lane.shared.retry };
    let finding = match &outcome {
        Outcome::TokenDead { reason, since, certainty } => Some(Finding::Dead(TokenVerdict {
            device: ticket.device(),
            lane: job.lane,
            digest: token.digest(),
            since: since.unwrap_or(now),
            reason: reason.clone(),
            certainty: *certainty,
        })),
        // That a token was taken where it belongs is not noted: it would cost a statement per device.
        _ => None,
    };
    (after.ending(outcome, rand::random()), finding)
}

/// What says something about a token, or could have, counts; a fault of the provider's or ours does not.
fn count(lane: &Lane, outcome: &Outcome) {
    match outcome {
        Outcome::Accepted { .. } | Outcome::Rejected { .. } => lane.guard.count(TokenSignal::Other),
        Outcome::TokenDead { certainty, .. } => lane.guard.count(TokenSignal::Dead(*certainty)),
        _ => {}
    }
}

/// What an outcome means for a device depends on what came before and on the time that is left.
struct After<'a> {
    job: &'a Job,
    once: bool,
    now: DateTime<Utc>,
    retry: RetryPolicy,
}

impl After<'_> {
    fn ending(&self, outcome: Outcome, draw: f64) -> Disposition {
        match outcome {
            Outcome::Accepted { provider_id } => Disposition::Final {
                status: DeliveryStatus::Accepted,
                attempted: true,
                reason: None,
                provider_id,
            },
            Outcome::Rejected { reason } => ended(DeliveryStatus::Rejected, reason),
            Outcome::TokenDead { reason, .. } => ended(DeliveryStatus::TokenDead, reason),
            Outcome::RetryTarget { reason, min_delay, .. } => {
                let min_delay = match min_delay {
                    MinDelay::ServerError => self.retry.initial,
                    MinDelay::Throttled => self.retry.throttled,
                    MinDelay::Exactly(wait) => wait,
                    MinDelay::None => Duration::ZERO,
                };
                self.again(reason, min_delay, false, draw)
            }
            Outcome::Unknown if self.job.doubts() + 1 >= UNSURE_MAX => {
                ended(DeliveryStatus::Unknown, Reason::from(PushpostReason::NoAnswer))
            }
            Outcome::Unknown => {
                self.again(Reason::from(PushpostReason::NoAnswer), self.retry.initial, true, draw)
            }
            // Only tokens of Apple or the web are concerned, which FCM alone knows; or the request's overrides are.
            Outcome::Misconfigured {
                reason,
                about: MisconfigurationScope::StoredKey | MisconfigurationScope::Override,
            } => self.held_back(reason, draw),
            Outcome::RetryLane { .. } | Outcome::Misconfigured { .. } | Outcome::Withdrawn => {
                Disposition::Returned
            }
        }
    }

    /// Nothing is wrong with the device: it counts as no attempt, and comes again less and less often.
    fn held_back(&self, reason: Reason, draw: f64) -> Disposition {
        let age = (self.now - self.job.notification.at()).to_std().unwrap_or_default();
        match self.again(reason, fcm_apns_key::floor(self.retry, age), false, draw) {
            Disposition::Retry { lane, delay, unanswered, reason, .. } => {
                Disposition::Retry { lane, delay, attempted: false, unanswered, reason }
            }
            other => other,
        }
    }

    /// Another attempt, unless it would come too late or there is to be only one: then it ends at once.
    fn again(&self, reason: Reason, min_delay: Duration, unanswered: bool, draw: f64) -> Disposition {
        let delay = self.retry.delay(self.job.attempt, min_delay, draw);
        let left = (self.job.expires_at - self.now).to_std().unwrap_or_default();
        if self.once || delay >= left {
            let doubtful = unanswered || self.job.doubts() > 0;
            return out_of_time_after(doubtful, Some(reason), true);
        }
        Disposition::Retry { lane: None, delay, attempted: true, unanswered, reason: Some(reason) }
    }
}

fn ended(status: DeliveryStatus, reason: Reason) -> Disposition {
    Disposition::Final { status, attempted: true, reason: Some(reason), provider_id: None }
}

/// Before the present attempt is made, which a node that died since may have made all the same.
fn out_of_time(job: &Job, word: Option<Reason>) -> Disposition {
    out_of_time_after(job.doubts() > 0, word, job.in_doubt)
}

/// `expired` says that no attempt is in doubt; else it is `unknown` (docs/queue.md#attempts-in-doubt).
fn out_of_time_after(doubtful: bool, word: Option<Reason>, attempted: bool) -> Disposition {
    let (status, reason) = if doubtful {
        (DeliveryStatus::Unknown, Reason::from(PushpostReason::NoAnswer))
    } else {
        (DeliveryStatus::Expired, word.unwrap_or_else(|| Reason::from(PushpostReason::Ttl)))
    };
    Disposition::Final { status, attempted, reason: Some(reason), provider_id: None }
}

/// Tells what the outcome says about the lane, and hears whether it counts for the device. `overridden`: a header of
/// the request's own took part in the topic or the key.
async fn tell_gate(
    lane: &Lane,
    generation: Generation,
    who: (NotificationId, DeviceId),
    outcome: &Outcome,
    overridden: bool,
) -> Attribution {
    match outcome {
        Outcome::RetryLane { reason, cause, after } => {
            // One rule for the lane and for its project, whose other lanes wait as long.
            let after = after.map(health::bounded_retry_after);
            if let (LaneCause::Throttled, Some(after), Some(quota)) = (cause, after, &lane.setup.quota) {
                quota.wait_until(Instant::now() + after, reason);
            }
            lane.gate.wait(generation, reason.clone(), *cause, after);
        }
        Outcome::RetryTarget {
            reason,
            min_delay,
            failure_domain: FailureDomain::Provider | FailureDomain::Connection,
        } => {
            let asked = match min_delay {
                MinDelay::Exactly(wait) => Some(*wait),
                _ => None,
            };
            return lane.gate.failing(generation, who, reason.clone(), asked);
        }
        Outcome::Misconfigured {
            reason,
            about: MisconfigurationScope::Credential | MisconfigurationScope::Topic,
        } => {
            if lane.gate.suspend(generation, reason.clone()) {
                Box::pin(agree(lane, lane.gate.fingerprint(), Some(reason))).await;
            }
        }
        Outcome::Misconfigured { about: MisconfigurationScope::Override, .. } => {
            lane.gate.inconclusive(generation)
        }
        Outcome::Rejected { .. } if overridden => lane.gate.inconclusive(generation),
        Outcome::Unknown => lane.gate.silent(generation),
        Outcome::Withdrawn => {}
        _ => {
            if lane.gate.healthy(generation) {
                Box::pin(agree(lane, lane.gate.fingerprint(), None)).await;
            }
            lane.limit.grow();
        }
    }
    Attribution::Device
}

/// Tells the other nodes of what is known of a credential. If Postgres is away, the next probe says it again.
pub(super) async fn agree(lane: &Lane, fingerprint: Fingerprint, suspended: Option<&Reason>) {
    let told = async {
        let mut conn = lane.shared.pool.acquire().await.map_err(store::Error::from)?;
        match suspended {
            Some(why) => {
                store::lanes::suspend(&mut conn, lane.gate.lane(), &fingerprint.0, why.as_str()).await
            }
            None => store::lanes::end_suspension(&mut conn, lane.gate.lane(), &fingerprint.0).await,
        }
    };
    if let Err(error) = told.await {
        tracing::warn!(lane = lane.name, %error, "other nodes could not be told of the lane's suspension or its end");
    }
}

/// One line per attempt: at `info` whatever was not accepted, so that an operator sees why a push was late.
fn log(lane: &Lane, job: &Job, outcome: &Outcome, waited_ms: i64, took: Duration) {
    let provider_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let (word, reason) = match outcome {
        Outcome::Accepted { .. } => ("accepted", None),
        Outcome::RetryTarget { reason, .. } => ("retry", Some(reason)),
        Outcome::RetryLane { reason, .. } => ("lane_retry", Some(reason)),
        Outcome::TokenDead { reason, certainty: Certainty::Certain, .. } => ("token_dead", Some(reason)),
        Outcome::TokenDead { reason, .. } => ("token_doubtful", Some(reason)),
        Outcome::Rejected { reason } => ("rejected", Some(reason)),
        Outcome::Misconfigured { reason, .. } => ("misconfigured", Some(reason)),
        Outcome::Unknown => ("unknown", None),
        Outcome::Withdrawn => ("withdrawn", None),
    };
    let reason = reason.map(Reason::as_str);
    let (id, attempt) = (job.notification, job.attempt);
    // Of a wrong Apple key `third_party` tells once for all devices.
    let quiet = matches!(
        outcome,
        Outcome::Accepted { .. } | Outcome::Misconfigured { about: MisconfigurationScope::StoredKey, .. }
    );
    if quiet {
        tracing::debug!(lane = lane.name, notification = %id, attempt, reason, waited_ms, provider_ms, "attempt: {word}");
    } else {
        tracing::info!(
            lane = lane.name, notification = %id, attempt, reason, waited_ms, provider_ms, "attempt: {word}"
        );
    }
}

#[cfg(test)]
mod tests;
