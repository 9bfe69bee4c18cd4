//! What each event does to a lane's state, except what the database says ([`super::remote`]). `docs/lane_states.md` has the
//! same as a table.

use std::time::Duration;

use tokio::time::Instant;

use super::{FailureRun, LaneHealth, Recovery, State, Stop, Stored};
use crate::dispatch::health::event::{
    Admission, Attribution, Effects, Generation, LaneEvent, Log, Persist, ProbeTarget, Wake,
};
use crate::dispatch::health::{
    OUTAGE_FAILURES, RETRY_AFTER_MAX, SUSPENDED_PROBE_INTERVAL, TIMEOUT_SPAN_MIN, WAIT_MAX, WAIT_MIN,
    bounded_retry_after,
};
use crate::domain::{LaneCause, PushpostReason, Reason};

impl LaneHealth {
    /// Takes an event in.
    pub(in crate::dispatch::health) fn on(&mut self, event: LaneEvent, now: Instant) -> Effects {
        match event {
            LaneEvent::Succeeded(generation) => self.on_success(generation, now),
            LaneEvent::Inconclusive(generation) => self.on_inconclusive(generation, now),
            LaneEvent::Reached(generation) => self.on_reached(generation, now),
            LaneEvent::ServerError { generation, target, reason, retry_after } => {
                self.on_server_error(generation, target, reason, retry_after, now)
            }
            LaneEvent::TimedOut(generation) => self.on_time_out(generation, now),
            LaneEvent::MustWait { generation, cause, reason, retry_after } => {
                self.on_must_wait(generation, cause, reason, retry_after, now)
            }
            LaneEvent::CredentialRejected { generation, reason } => {
                self.on_rejection(generation, reason, now)
            }
            LaneEvent::CredentialChanged => self.on_new_credential(now),
            LaneEvent::RemoteState { paused, suspension } => self.on_remote_state(paused, suspension, now),
            LaneEvent::DecisionStored => self.on_decision_stored(now),
            LaneEvent::ProbeStarted(generation) => self.on_probe_start(generation, now),
            LaneEvent::ProbeEnded(generation) => self.on_probe_end(generation),
            LaneEvent::RetryNow => self.on_retry_now(now),
        }
    }

    /// An answer from an earlier generation still ends a run of failures, because it shows that the provider works.
    fn on_success(&mut self, generation: Generation, now: Instant) -> Effects {
        self.end_failures();
        if !self.concerns_stop(generation) {
            return Effects::default();
        }
        let persist = self.is_suspended().then_some(Persist::Recovery);
        Effects { persist, ..self.recover(now) }
    }

    fn on_inconclusive(&mut self, generation: Generation, now: Instant) -> Effects {
        if generation != self.generation {
            return Effects::default();
        }
        self.end_failures();
        match &mut self.state {
            State::Unknown | State::Running => Effects::default(),
            State::Throttled(_) | State::Broken(_) => self.recover(now),
            State::Suspended { stop, .. } => {
                stop.probe_at = now + SUSPENDED_PROBE_INTERVAL;
                Effects { wake: Wake::ReadAdmission, ..Effects::default() }
            }
        }
    }

    /// Ends a stop if the probe is due: a wait that the provider asked for holds, and a probe under way decides by itself. A
    /// provider that can be reached may still fail, so one more failure breaks a lane again that was broken, and the waits
    /// go on growing. A rejected credential is not accepted by this.
    fn on_reached(&mut self, generation: Generation, now: Instant) -> Effects {
        let is_due = match &self.state {
            State::Throttled(stop) | State::Broken(stop) => stop.probing.is_none() && stop.probe_at <= now,
            State::Unknown | State::Running | State::Suspended { .. } => false,
        };
        if generation != self.generation || !is_due {
            return Effects::default();
        }
        let was_broken = matches!(self.state, State::Broken(_));
        self.enter(State::Running, now);
        if was_broken {
            self.failures = Some(FailureRun { count: OUTAGE_FAILURES - 1, first_at: now });
        } else {
            self.next_wait = WAIT_MIN;
        }
        Effects { wake: Wake::ReadAdmission, log: Some(Log::Recovered), ..Effects::default() }
    }

    /// In an outage no attempt counts for its device: neither a probe's, nor one that started before the outage was
    /// noticed, even if its answer comes after the end. Only a device that fails as probe twice in a row may be the cause, so
    /// its second attempt counts.
    fn on_server_error(
        &mut self,
        generation: Generation,
        target: ProbeTarget,
        reason: Reason,
        retry_after: Option<Duration>,
        now: Instant,
    ) -> Effects {
        let counts_for = |attribution| Effects { attribution, ..Effects::default() };
        match self.state {
            State::Unknown => counts_for(Attribution::Device),
            State::Running if generation != self.generation => {
                let met_outage = self.outage_in.is_some_and(|outage| generation <= outage);
                counts_for(if met_outage { Attribution::Lane } else { Attribution::Device })
            }
            State::Running => {
                if self.count_failure(now).count < OUTAGE_FAILURES {
                    return counts_for(Attribution::Device);
                }
                let stopped = self.stop(LaneCause::Outage, reason, retry_after, now);
                Effects { attribution: Attribution::Lane, ..stopped }
            }
            _ if generation != self.generation => counts_for(Attribution::Lane),
            State::Throttled(_) | State::Broken(_) | State::Suspended { .. } => {
                let same_again = self.last_failed_probe.replace(target) == Some(target);
                let attribution = if same_again { Attribution::Device } else { Attribution::Lane };
                Effects { attribution, ..self.stop(LaneCause::Outage, reason, retry_after, now) }
            }
        }
    }

    /// The attempt counts for its device in any case, because the push may have been sent.
    fn on_time_out(&mut self, generation: Generation, now: Instant) -> Effects {
        if generation != self.generation || self.state == State::Unknown {
            return Effects::default();
        }
        if self.state == State::Running {
            let run = self.count_failure(now);
            if run.count < OUTAGE_FAILURES || now.duration_since(run.first_at) < TIMEOUT_SPAN_MIN {
                return Effects::default();
            }
        }
        self.stop(LaneCause::Outage, Reason::from(PushpostReason::NoAnswer), None, now)
    }

    /// Many attempts in flight may be told to wait. The first answer stops the lane and begins a generation. The other
    /// answers are of the generation before: each can only move the next probe of a throttled lane to a later moment.
    fn on_must_wait(
        &mut self,
        generation: Generation,
        cause: LaneCause,
        reason: Reason,
        retry_after: Option<Duration>,
        now: Instant,
    ) -> Effects {
        match &mut self.state {
            State::Unknown => Effects::default(),
            _ if generation == self.generation => self.stop(cause, reason, retry_after, now),
            State::Throttled(stop) => {
                let asked = retry_after.map(|asked| now + bounded_retry_after(asked));
                stop.probe_at = asked.map_or(stop.probe_at, |asked| stop.probe_at.max(asked));
                Effects::default()
            }
            _ => Effects::default(),
        }
    }

    /// Stored each time, because an operator or another node may have replaced what was stored before.
    fn on_rejection(&mut self, generation: Generation, reason: Reason, now: Instant) -> Effects {
        if generation != self.generation || self.state == State::Unknown {
            return Effects::default();
        }
        let is_news = !self.is_suspended();
        (self.recovery, self.rejected_at) = (None, Some(now));
        self.enter(State::suspended(reason, now + SUSPENDED_PROBE_INTERVAL, Stored::No), now);
        Effects {
            persist: Some(Persist::Suspension),
            wake: Wake::ReadAdmission,
            log: Some(if is_news { Log::Suspended } else { Log::StillSuspended }),
            ..Effects::default()
        }
    }

    /// Whatever stopped the lane is over. Only a lane that may be paused or suspended stays as it is.
    fn on_new_credential(&mut self, now: Instant) -> Effects {
        (self.next_wait, self.recovery, self.rejected_at) = (WAIT_MIN, Some(Recovery::Unstored), None);
        let next = if self.state == State::Unknown { State::Unknown } else { State::Running };
        self.enter(next, now);
        Effects { wake: Wake::ReadAdmission, ..Effects::default() }
    }

    fn on_probe_start(&mut self, generation: Generation, now: Instant) -> Effects {
        let probe_granted = generation == self.generation && self.admission(now) == Admission::Probe;
        if let Some(stop) = self.state.stop_mut().filter(|_| probe_granted) {
            stop.probing = Some(generation);
        }
        Effects { probe_granted, ..Effects::default() }
    }

    /// A probe that ends without an event of its own leaves the next one due at once.
    fn on_probe_end(&mut self, generation: Generation) -> Effects {
        if let Some(stop) = self.state.stop_mut().filter(|stop| stop.probing == Some(generation)) {
            stop.probing = None;
        }
        Effects::default()
    }

    fn on_retry_now(&mut self, now: Instant) -> Effects {
        if let Some(stop) = self.state.stop_mut() {
            stop.probe_at = now;
            self.next_wait = WAIT_MIN;
        }
        Effects { wake: Wake::LookForJobs, ..Effects::default() }
    }

    /// Does an answer of this generation end the stop that the lane is in?
    fn concerns_stop(&self, generation: Generation) -> bool {
        generation == self.generation && !matches!(self.state, State::Unknown | State::Running)
    }

    /// A lane that was only reached has kept its wait: the provider works after all.
    fn end_failures(&mut self) {
        self.failures = None;
        if self.state == State::Running {
            self.next_wait = WAIT_MIN;
        }
    }

    fn count_failure(&mut self, now: Instant) -> FailureRun {
        let run = self.failures.get_or_insert(FailureRun { count: 0, first_at: now });
        run.count += 1;
        *run
    }

    fn recover(&mut self, now: Instant) -> Effects {
        self.next_wait = WAIT_MIN;
        if self.is_suspended() {
            self.recovery = Some(Recovery::Unstored);
        } else if self.recovery != Some(Recovery::Unstored) {
            self.recovery = Some(Recovery::KnownSince(now));
        }
        self.enter(State::Running, now);
        Effects { wake: Wake::ReadAdmission, log: Some(Log::Recovered), ..Effects::default() }
    }

    /// Waits for as long as the provider asks, else for a time that grows. A suspended lane stays suspended, whatever else
    /// goes wrong.
    fn stop(
        &mut self,
        cause: LaneCause,
        reason: Reason,
        retry_after: Option<Duration>,
        now: Instant,
    ) -> Effects {
        let asked = retry_after.unwrap_or(self.next_wait).min(RETRY_AFTER_MAX);
        self.next_wait = (self.next_wait * 2).min(WAIT_MAX);
        let (wait, next) = match (&self.state, cause) {
            (State::Suspended { stop, stored }, _) => {
                let wait = asked.max(SUSPENDED_PROBE_INTERVAL);
                (wait, State::suspended(stop.reason.clone(), now + wait, *stored))
            }
            (_, LaneCause::Throttled) => (asked, State::Throttled(Stop::until(now + asked, reason))),
            (_, LaneCause::Outage) => {
                self.outage_in = Some(self.generation);
                (asked, State::Broken(Stop::until(now + asked, reason)))
            }
        };
        self.enter(next, now);
        Effects { wake: Wake::ReadAdmission, log: Some(Log::Stopped(wait)), ..Effects::default() }
    }

    /// The one place where the generation rises.
    pub(super) fn enter(&mut self, next: State, now: Instant) {
        if std::mem::discriminant(&self.state) != std::mem::discriminant(&next) {
            self.since = now;
        }
        if next == State::Running {
            self.last_failed_probe = None;
        }
        self.state = next;
        self.failures = None;
        self.generation.0 += 1;
    }
}
