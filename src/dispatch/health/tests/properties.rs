//! What holds after any sequence of events.

use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::{another_suspended, must_wait, rejected, remote, server_error};
use crate::dispatch::health::event::{Admission, Generation, LaneEvent};
use crate::dispatch::health::state::LaneHealth;
use crate::dispatch::health::{RETRY_AFTER_MAX, SUSPENDED_PROBE_INTERVAL};
use crate::domain::{LaneCause, LaneState};

/// What happens next. `age`: how many generations before the present one the attempt started.
#[derive(Clone, Debug)]
enum Step {
    Attempt {
        kind: u8,
        age: u64,
        device: i64,
        retry_after: Option<Duration>,
    },
    CredentialChanged,
    RemoteState {
        paused: bool,
        suspended: bool,
    },
    AnotherSuspended,
    DecisionStored,
    StartProbe {
        age: u64,
    },
    /// The probe that started first among those under way ends.
    EndProbe,
    RetryNow,
    Time(Duration),
}

fn age() -> impl Strategy<Value = u64> {
    prop_oneof![4 => Just(0), 1 => 1_u64..4]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Waits beyond an hour, too: no provider is given more.
    let retry_after = proptest::option::of((0_u64..100_000).prop_map(Duration::from_secs));
    let attempt = (0_u8..8, age(), 0_i64..3, retry_after)
        .prop_map(|(kind, age, device, retry_after)| Step::Attempt { kind, age, device, retry_after });
    let remote = (any::<bool>(), any::<bool>())
        .prop_map(|(paused, suspended)| Step::RemoteState { paused, suspended });
    let step = prop_oneof![
        8 => attempt,
        1 => Just(Step::CredentialChanged),
        2 => remote,
        1 => Just(Step::RemoteState { paused: false, suspended: false }),
        1 => Just(Step::AnotherSuspended),
        1 => Just(Step::DecisionStored),
        3 => age().prop_map(|age| Step::StartProbe { age }),
        2 => Just(Step::EndProbe),
        1 => Just(Step::RetryNow),
        4 => (0_u64..5_000).prop_map(|ms| Step::Time(Duration::from_millis(ms))),
        1 => (0_u64..4_000).prop_map(|s| Step::Time(Duration::from_secs(s))),
    ];
    proptest::collection::vec(step, 0..80)
}

fn of_attempt(kind: u8, generation: Generation, device: i64, retry_after: Option<Duration>) -> LaneEvent {
    match kind {
        0 => LaneEvent::Succeeded(generation),
        1 => LaneEvent::Inconclusive(generation),
        2 => server_error(generation, device),
        3 => LaneEvent::TimedOut(generation),
        4 => must_wait(generation, LaneCause::Throttled, retry_after),
        5 => must_wait(generation, LaneCause::Outage, retry_after),
        7 => LaneEvent::Reached(generation),
        _ => rejected(generation),
    }
}

/// A lane beside what a careful observer knows about it.
struct Observed {
    lane: LaneHealth,
    now: Instant,
    has_been_read: bool,
    is_paused: bool,
    probes: Vec<Generation>,
}

impl Observed {
    fn new() -> Self {
        let now = Instant::now();
        Self { lane: LaneHealth::new(now), now, has_been_read: false, is_paused: false, probes: Vec::new() }
    }

    fn generation(&self, age: u64) -> Generation {
        Generation(self.lane.generation().0.saturating_sub(age))
    }

    fn take(&mut self, step: Step) {
        let event = match step {
            Step::Time(time) => {
                self.now += time;
                return;
            }
            Step::Attempt { kind, age, device, retry_after } => {
                of_attempt(kind, self.generation(age), device, retry_after)
            }
            Step::CredentialChanged => LaneEvent::CredentialChanged,
            Step::RemoteState { paused, suspended } => {
                (self.has_been_read, self.is_paused) = (true, paused);
                remote(paused, suspended)
            }
            Step::AnotherSuspended => {
                (self.has_been_read, self.is_paused) = (true, false);
                another_suspended()
            }
            Step::DecisionStored => LaneEvent::DecisionStored,
            Step::StartProbe { age } => LaneEvent::ProbeStarted(self.generation(age)),
            Step::EndProbe if self.probes.is_empty() => return,
            Step::EndProbe => LaneEvent::ProbeEnded(self.probes.remove(0)),
            Step::RetryNow => LaneEvent::RetryNow,
        };
        let started = match &event {
            LaneEvent::ProbeStarted(generation) => Some(*generation),
            _ => None,
        };
        if self.lane.on(event, self.now).probe_granted {
            self.probes.extend(started);
        }
    }

    fn admission(&self) -> Admission {
        self.lane.admission(self.now)
    }
}

/// What is true of a lane at any moment.
fn check(seen: &Observed) -> Result<(), TestCaseError> {
    let (lane, (state, reason)) = (&seen.lane, seen.lane.state());
    let admission = seen.admission();
    prop_assert_eq!(state == LaneState::Unknown, !seen.has_been_read);
    prop_assert_eq!(lane.is_paused(), seen.is_paused);
    if state == LaneState::Unknown || seen.is_paused {
        prop_assert_eq!(admission, Admission::Wait(None));
        prop_assert!(!lane.accepts_environment_probes(seen.now));
    } else {
        prop_assert_eq!(admission == Admission::Send, state == LaneState::Running);
    }
    prop_assert_eq!(reason.is_some(), !matches!(state, LaneState::Unknown | LaneState::Running));
    prop_assert!(lane.since() <= seen.now);
    if let Admission::Wait(Some(until)) = admission {
        prop_assert!(until > seen.now && until <= seen.now + RETRY_AFTER_MAX, "pauses are bounded");
    }
    let probes = seen.probes.iter().filter(|probe| **probe == lane.generation()).count();
    prop_assert!(probes <= 1, "{} probes under way", probes);
    prop_assert!(probes == 0 || admission == Admission::Wait(None), "a probe is under way: {:?}", admission);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_lane_sends_only_when_it_may(steps in steps()) {
        let mut seen = Observed::new();
        check(&seen)?;
        for step in steps {
            let (generation, state, paused) =
                (seen.lane.generation(), seen.lane.state().0, seen.lane.is_paused());
            seen.take(step);
            check(&seen)?;
            prop_assert!(seen.lane.generation() >= generation, "the generation decreases");
            let changed = seen.lane.state().0 != state || seen.lane.is_paused() != paused;
            prop_assert!(!changed || seen.lane.generation() > generation, "a change without a new generation");
        }
    }

    #[test]
    fn an_attempt_of_an_earlier_generation_neither_stops_nor_starts_a_lane(
        steps in steps(), kind in 0_u8..8, age in 1_u64..5, device in 0_i64..3
    ) {
        let mut seen = Observed::new();
        steps.into_iter().for_each(|step| seen.take(step));
        prop_assume!(seen.lane.generation().0 >= age);
        let before = (seen.lane.generation(), seen.lane.state().0, seen.admission());
        let retry_after = None;
        seen.take(Step::Attempt { kind, age, device, retry_after });
        prop_assert_eq!((seen.lane.generation(), seen.lane.state().0, seen.admission()), before);
    }

    #[test]
    fn a_lane_that_has_stopped_gets_its_probe_and_runs_if_the_probe_succeeds(steps in steps()) {
        let mut seen = Observed::new();
        steps.into_iter().for_each(|step| seen.take(step));
        while !seen.probes.is_empty() {
            seen.take(Step::EndProbe);
        }
        let suspended = seen.lane.is_suspended();
        seen.take(Step::RemoteState { paused: false, suspended });
        seen.take(Step::Time(RETRY_AFTER_MAX));
        if seen.admission() != Admission::Send {
            prop_assert_eq!(seen.admission(), Admission::Probe);
            seen.take(Step::StartProbe { age: 0 });
            prop_assert_eq!(seen.probes.len(), 1);
            seen.take(Step::Attempt { kind: 0, age: 0, device: 1, retry_after: None });
        }
        prop_assert_eq!(seen.admission(), Admission::Send);
    }

    #[test]
    fn a_lane_that_has_stopped_runs_once_it_is_reached_unless_its_credential_is_rejected(steps in steps()) {
        let mut seen = Observed::new();
        steps.into_iter().for_each(|step| seen.take(step));
        while !seen.probes.is_empty() {
            seen.take(Step::EndProbe);
        }
        let suspended = seen.lane.is_suspended();
        seen.take(Step::RemoteState { paused: false, suspended });
        seen.take(Step::Time(RETRY_AFTER_MAX));
        let was_broken = seen.lane.state().0 == LaneState::Broken;
        seen.take(Step::Attempt { kind: 7, age: 0, device: 1, retry_after: None });
        prop_assert_eq!(seen.admission(), if suspended { Admission::Probe } else { Admission::Send });
        if was_broken {
            seen.take(Step::Attempt { kind: 2, age: 0, device: 1, retry_after: None });
            prop_assert_eq!(seen.lane.state().0, LaneState::Broken, "one failure breaks the lane again");
        }
    }

    #[test]
    fn a_rejected_credential_is_tried_once_a_minute_at_most(steps in steps(), kind in 1_u8..8, device in 0_i64..3) {
        let mut seen = Observed::new();
        steps.into_iter().for_each(|step| seen.take(step));
        seen.take(Step::RemoteState { paused: false, suspended: false });
        seen.take(Step::Attempt { kind: 6, age: 0, device, retry_after: None });
        prop_assert!(seen.lane.is_suspended());
        seen.take(Step::Attempt { kind, age: 0, device, retry_after: Some(Duration::ZERO) });
        prop_assert!(seen.lane.is_suspended(), "only a success ends a suspension");
        prop_assert_eq!(seen.admission(), Admission::Wait(Some(seen.now + SUSPENDED_PROBE_INTERVAL)));
    }

    #[test]
    fn a_recovery_stands_against_every_reading_until_the_database_has_taken_it(
        steps in steps(), readings in proptest::collection::vec((any::<bool>(), 0_u64..600), 1..20)
    ) {
        let mut seen = Observed::new();
        steps.into_iter().for_each(|step| seen.take(step));
        seen.take(Step::RemoteState { paused: false, suspended: false });
        seen.take(Step::Attempt { kind: 6, age: 0, device: 1, retry_after: None });
        seen.take(Step::Attempt { kind: 0, age: 0, device: 1, retry_after: None });
        for (suspended, seconds) in readings {
            seen.take(Step::Time(Duration::from_secs(seconds)));
            seen.take(Step::RemoteState { paused: false, suspended });
            prop_assert_eq!(seen.admission(), Admission::Send);
        }
    }

    #[test]
    fn only_an_empty_row_or_a_success_ends_a_suspension(steps in steps(), age in 0_u64..3) {
        let mut seen = Observed::new();
        steps.into_iter().for_each(|step| seen.take(step));
        seen.take(Step::RemoteState { paused: false, suspended: false });
        seen.take(Step::Attempt { kind: 6, age: 0, device: 1, retry_after: None });
        seen.take(Step::RemoteState { paused: false, suspended: true });
        prop_assert!(seen.lane.is_suspended());
        seen.take(Step::AnotherSuspended);
        prop_assert!(seen.lane.is_suspended());
        seen.take(Step::Attempt { kind: 5, age, device: 1, retry_after: None });
        prop_assert!(seen.lane.is_suspended());
        seen.take(Step::RemoteState { paused: false, suspended: false });
        prop_assert_eq!(seen.admission(), Admission::Send);
    }
}
