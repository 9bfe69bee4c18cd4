//! The lanes: attempts, outcomes, connections and health.
//!
//! A lane resolves its handles once, when it starts ([`LanesMetrics::lane`]), and its series go with the last of them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::Histogram;
use super::exemplars::Exemplars;
use super::families::{Histograms, LaneLabel};
use super::label::{SecondsGauge, label_words};
use super::lane_families::{LaneFamilies, ReasonLabels};
use super::lane_starts::LaneStarts;
use super::names::Names;
use super::reason::OTHER;
use crate::domain::{Class, LaneState, Priority, TraceContext};

/// Reasons of a lane with a series of their own, for each of attempts and quarantined devices. Further ones are counted as
/// [`OTHER`], so that a provider that invents words can't make series without limit.
const REASONS_MAX: usize = 40;

label_words! {
    /// What became of an attempt.
    AttemptOutcome {
        /// The provider took the notification.
        Accepted "accepted",
        /// The device is tried again.
        Retry "retry",
        /// The whole lane waits.
        LaneRetry "lane_retry",
        /// The token is dead for certain.
        TokenDead "token_dead",
        /// The token is dead, unless the configuration is wrong.
        TokenDoubtful "token_doubtful",
        /// The notification was refused for this device.
        Rejected "rejected",
        /// The configuration is wrong.
        Misconfigured "misconfigured",
        /// The request was written and had no answer.
        Unknown "unknown",
        /// The request was not written, because the attempt was no longer valid.
        Withdrawn "withdrawn",
    }
}

label_words! {
    /// Why a connection to a provider ended.
    ConnectionEnd {
        /// The provider ended it in order.
        Goaway "goaway",
        /// It did not answer a PING in time.
        Silent "silent",
        /// An error of the network or of the protocol.
        Error "error",
        /// It was open for long enough.
        Age "age",
        /// It had nothing to do.
        Idle "idle",
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct WaitLabels {
    priority: &'static str,
    audience: &'static str,
}

/// The values of the label `audience`.
const AUDIENCES: [&str; 2] = ["direct", "broadcast"];

/// The lanes of a node.
#[derive(Debug)]
pub struct LanesMetrics {
    families: LaneFamilies,
    /// By priority, direct notifications before broadcasts.
    post_to_provider: Vec<[Histogram; 2]>,
    exemplars: Exemplars,
    lanes: Mutex<HashMap<String, Weak<LaneMetrics>>>,
}

/// Handles for one lane. Its series are removed with the last of its clones.
pub struct LaneMetrics {
    label: LaneLabel,
    families: LaneFamilies,
    /// Jobs that skipped the claim.
    pub handovers: Counter,
    /// Requests at the provider.
    pub in_flight: Gauge,
    /// Requests that the adaptive limit allows at the provider.
    pub in_flight_max: Gauge,
    /// Devices loaded ahead of sending.
    pub prefetched: Gauge,
    attempts: Vec<Counter>,
    attempt_reasons: Reasons,
    /// Attempts after one that may have been sent.
    pub resends: Counter,
    /// Time from the opened stream to the answer.
    pub provider_seconds: Histogram,
    states: Vec<Gauge>,
    /// The label of the series that says why the lane has stopped.
    stop_reason: Mutex<Option<String>>,
    /// Open connections to the provider.
    pub connections: Gauge,
    connection_ends: Vec<Counter>,
    /// Age of the provider token of the last request.
    pub credential_age_seconds: SecondsGauge,
    pruned: Reasons,
    /// First attempts, by whether they kept the objective.
    pub starts: LaneStarts,
}

/// Counters by reason, made when a reason comes up.
#[derive(Debug)]
struct Reasons {
    family: Family<ReasonLabels, Counter>,
    lane: String,
    known: Mutex<HashMap<String, Counter>>,
}

impl LanesMetrics {
    pub(super) fn register(names: &mut Names) -> Self {
        let families = LaneFamilies::default();
        families.register(names);
        let waits: Histograms<WaitLabels> = Family::new_with_constructor(Histogram::patient);
        let post_to_provider = Priority::DESCENDING.iter().map(|priority| {
            AUDIENCES.map(|audience| {
                waits.get_or_create_owned(&WaitLabels { priority: priority.as_str(), audience })
            })
        });
        let post_to_provider = post_to_provider.collect();
        names.add(
            "pushpost_post_to_provider_seconds",
            "Time from the acceptance, or from a later send_at, to the stream of the first attempt",
            waits,
        );
        Self { families, post_to_provider, exemplars: Exemplars::default(), lanes: Mutex::default() }
    }

    /// Handles for a lane, with all known series at 0. `name` is as `shop/fcm`. The same handles while some are in use.
    pub fn lane(&self, name: &str) -> Arc<LaneMetrics> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(name).and_then(Weak::upgrade) {
            return lane;
        }
        let lane = Arc::new(LaneMetrics::new(name, &self.families));
        lanes.insert(name.to_owned(), Arc::downgrade(&lane));
        lane
    }

    /// Handles for a lane that are in use; none: the lane is not served here.
    pub fn known_lane(&self, name: &str) -> Option<Arc<LaneMetrics>> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.get(name).and_then(Weak::upgrade)
    }

    /// Time from acceptance, or from a later `send_at`, to the stream of the first attempt.
    pub fn post_to_provider_seconds(&self, priority: Priority, class: Class) -> &Histogram {
        let place = Priority::DESCENDING.iter().position(|other| *other == priority).unwrap_or_default();
        &self.post_to_provider[place][usize::from(class == Class::Bulk)]
    }

    /// Keeps the trace of a push that waited so long for its first attempt, as the exemplar of its bucket.
    pub fn note_exemplar(&self, priority: Priority, class: Class, waited: Duration, trace: TraceContext) {
        let audience = AUDIENCES[usize::from(class == Class::Bulk)];
        let labels = format!(r#"priority="{}",audience="{audience}""#, priority.as_str());
        let bound = self.post_to_provider_seconds(priority, class).bound_of(waited);
        self.exemplars.note(labels, bound, waited.as_secs_f64(), trace);
    }

    /// The text of OpenMetrics with the exemplars in it.
    pub(super) fn with_exemplars(&self, text: String) -> String {
        self.exemplars.added_to(text)
    }
}

impl LaneMetrics {
    fn new(name: &str, families: &LaneFamilies) -> Self {
        let label = LaneLabel { lane: name.to_owned() };
        let attempt = |outcome: &AttemptOutcome| {
            families.attempts.get_or_create_owned(&label.outcome(outcome.as_str()))
        };
        let state = |state: &LaneState| families.state.get_or_create_owned(&label.state(*state));
        let end =
            |end: &ConnectionEnd| families.connection_ends.get_or_create_owned(&label.reason(end.as_str()));
        Self {
            handovers: families.handovers.get_or_create_owned(&label),
            in_flight: families.in_flight.get_or_create_owned(&label),
            in_flight_max: families.in_flight_max.get_or_create_owned(&label),
            prefetched: families.prefetched.get_or_create_owned(&label),
            attempts: AttemptOutcome::ALL.iter().map(attempt).collect(),
            attempt_reasons: Reasons::new(&families.attempt_reasons, name),
            resends: families.resends.get_or_create_owned(&label),
            provider_seconds: families.provider_seconds.get_or_create_owned(&label),
            states: LaneState::ALL.iter().map(state).collect(),
            stop_reason: Mutex::default(),
            connections: families.connections.get_or_create_owned(&label),
            connection_ends: ConnectionEnd::ALL.iter().map(end).collect(),
            credential_age_seconds: families.credential_age.get_or_create_owned(&label),
            pruned: Reasons::new(&families.pruned, name),
            starts: LaneStarts::default(),
            families: families.clone(),
            label,
        }
    }

    /// Attempts with this outcome.
    pub fn attempts(&self, outcome: AttemptOutcome) -> &Counter {
        &self.attempts[outcome as usize]
    }

    /// Attempts that were not accepted, by the provider's reason: a word of a closed list, or `other`.
    pub fn attempt_reasons(&self, reason: &str) -> Counter {
        self.attempt_reasons.of(reason)
    }

    /// Connections that ended for this reason.
    pub fn connection_ends(&self, reason: ConnectionEnd) -> &Counter {
        &self.connection_ends[reason as usize]
    }

    /// Devices quarantined for this reason: a word of a closed list, or `other`.
    pub fn pruned(&self, reason: &str) -> Counter {
        self.pruned.of(reason)
    }

    /// What is left of this minute's quota. A lane without a quota has no series.
    pub fn set_quota_remaining(&self, ratio: f64) {
        self.families.quota_remaining.get_or_create(&self.label).set(ratio);
    }

    /// Whether the provider took the credential at its last use. None: no use is known, so there is no series.
    pub fn set_credential_ok(&self, is_ok: Option<bool>) {
        match is_ok {
            Some(is_ok) => {
                self.families.credential_ok.get_or_create(&self.label).set(is_ok.into());
            }
            None => {
                self.families.credential_ok.remove(&self.label);
            }
        }
    }

    /// Shows why the lane has stopped: a word of a closed list, or `other`. None: no series says anything.
    pub fn set_stop_reason(&self, reason: Option<&str>) {
        let mut shown = self.stop_reason.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.as_deref() != reason {
            if let Some(before) = shown.take() {
                self.families.stop_reason.remove(&self.label.reason(&before));
            }
            *shown = reason.map(str::to_owned);
        }
        if let Some(reason) = reason {
            self.families.stop_reason.get_or_create(&self.label.reason(reason)).set(1);
        }
    }

    /// Shows this state with 1, and the others with 0.
    pub fn set_state(&self, state: LaneState) {
        for (other, gauge) in LaneState::ALL.iter().zip(&self.states) {
            gauge.set(i64::from(*other == state));
        }
    }
}

impl fmt::Debug for LaneMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneMetrics").field("lane", &self.label.lane).finish_non_exhaustive()
    }
}

impl Drop for LaneMetrics {
    /// Removes every series of the lane, as its constructor made them.
    fn drop(&mut self) {
        self.set_stop_reason(None);
        let Self { families, label, .. } = self;
        families.handovers.remove(label);
        families.in_flight.remove(label);
        families.in_flight_max.remove(label);
        families.prefetched.remove(label);
        families.resends.remove(label);
        families.provider_seconds.remove(label);
        families.connections.remove(label);
        families.quota_remaining.remove(label);
        families.credential_ok.remove(label);
        families.credential_age.remove(label);
        for outcome in AttemptOutcome::ALL {
            families.attempts.remove(&label.outcome(outcome.as_str()));
        }
        for state in LaneState::ALL {
            families.state.remove(&label.state(*state));
        }
        for end in ConnectionEnd::ALL {
            families.connection_ends.remove(&label.reason(end.as_str()));
        }
    }
}

impl Reasons {
    fn new(family: &Family<ReasonLabels, Counter>, lane: &str) -> Self {
        Self { family: family.clone(), lane: lane.to_owned(), known: Mutex::default() }
    }

    fn of(&self, reason: &str) -> Counter {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = known.get(reason) {
            return counter.clone();
        }
        let reason = if known.len() < REASONS_MAX { reason } else { OTHER };
        let labels = ReasonLabels { lane: self.lane.clone(), reason: reason.to_owned() };
        let counter = self.family.get_or_create_owned(&labels);
        known.entry(reason.to_owned()).or_insert(counter).clone()
    }
}

impl Drop for Reasons {
    fn drop(&mut self) {
        let known = self.known.get_mut().unwrap_or_else(PoisonError::into_inner);
        for reason in known.keys() {
            let labels = ReasonLabels { lane: self.lane.clone(), reason: reason.clone() };
            self.family.remove(&labels);
        }
    }
}
