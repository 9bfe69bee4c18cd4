//! The families that each lane has series in, and their label sets.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::Histogram;
use super::families::{Histograms, LaneLabel};
use super::label::SecondsGauge;
use super::names::Names;
use crate::domain::LaneState;

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct OutcomeLabels {
    pub(super) lane: String,
    pub(super) outcome: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct ReasonLabels {
    pub(super) lane: String,
    pub(super) reason: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub(super) struct StateLabels {
    pub(super) lane: String,
    pub(super) state: &'static str,
}

/// The families that each lane has series in.
#[derive(Clone, Debug)]
pub(super) struct LaneFamilies {
    pub(super) handovers: Family<LaneLabel, Counter>,
    pub(super) in_flight: Family<LaneLabel, Gauge>,
    pub(super) in_flight_max: Family<LaneLabel, Gauge>,
    pub(super) prefetched: Family<LaneLabel, Gauge>,
    pub(super) attempts: Family<OutcomeLabels, Counter>,
    pub(super) attempt_reasons: Family<ReasonLabels, Counter>,
    pub(super) resends: Family<LaneLabel, Counter>,
    pub(super) provider_seconds: Histograms<LaneLabel>,
    pub(super) state: Family<StateLabels, Gauge>,
    pub(super) stop_reason: Family<ReasonLabels, Gauge>,
    pub(super) connections: Family<LaneLabel, Gauge>,
    pub(super) connection_ends: Family<ReasonLabels, Counter>,
    pub(super) quota_remaining: Family<LaneLabel, SecondsGauge>,
    pub(super) credential_ok: Family<LaneLabel, Gauge>,
    pub(super) credential_age: Family<LaneLabel, SecondsGauge>,
    pub(super) pruned: Family<ReasonLabels, Counter>,
}

impl Default for LaneFamilies {
    fn default() -> Self {
        Self {
            handovers: Family::default(),
            in_flight: Family::default(),
            in_flight_max: Family::default(),
            prefetched: Family::default(),
            attempts: Family::default(),
            attempt_reasons: Family::default(),
            resends: Family::default(),
            provider_seconds: Family::new_with_constructor(Histogram::quick),
            state: Family::default(),
            stop_reason: Family::default(),
            connections: Family::default(),
            connection_ends: Family::default(),
            quota_remaining: Family::default(),
            credential_ok: Family::default(),
            credential_age: Family::default(),
            pruned: Family::default(),
        }
    }
}

impl LaneFamilies {
    pub(super) fn register(&self, names: &mut Names) {
        names.add("pushpost_handovers_total", "Jobs that skipped the claim", self.handovers.clone());
        names.add("pushpost_in_flight", "Requests at the provider", self.in_flight.clone());
        names.add(
            "pushpost_in_flight_max",
            "Requests that the adaptive limit allows at the provider now",
            self.in_flight_max.clone(),
        );
        names.add("pushpost_prefetched_devices", "Devices loaded ahead of sending", self.prefetched.clone());
        names.add("pushpost_attempts_total", "Attempts, by outcome", self.attempts.clone());
        names.add(
            "pushpost_attempt_reasons_total",
            "Attempts that were not accepted, by the provider's reason",
            self.attempt_reasons.clone(),
        );
        names.add(
            "pushpost_resends_total",
            "Attempts after one that may have been sent",
            self.resends.clone(),
        );
        names.add(
            "pushpost_provider_seconds",
            "Time from the opened stream to the answer of the provider",
            self.provider_seconds.clone(),
        );
        names.add(
            "pushpost_lane_state",
            "1 for the state of the lane as this node sees it, else 0",
            self.state.clone(),
        );
        names.add(
            "pushpost_lane_stop_reason",
            "1 for the reason for which the lane has stopped, as this node sees it",
            self.stop_reason.clone(),
        );
        names.add("pushpost_lane_connections", "Open connections to the provider", self.connections.clone());
        names.add(
            "pushpost_lane_connection_ends_total",
            "Ended connections to the provider",
            self.connection_ends.clone(),
        );
        names.add(
            "pushpost_quota_remaining_ratio",
            "What is left of this node's part of the provider's quota for this minute",
            self.quota_remaining.clone(),
        );
        names.add(
            "pushpost_credential_ok",
            "1 if the provider took the credential at its last use",
            self.credential_ok.clone(),
        );
        names.add(
            "pushpost_credential_age_seconds",
            "Age of the provider token of the last request; 0 after 5 min without a request",
            self.credential_age.clone(),
        );
        names.add("pushpost_pruned_total", "Quarantined devices", self.pruned.clone());
    }
}

impl LaneLabel {
    pub(super) fn outcome(&self, outcome: &'static str) -> OutcomeLabels {
        OutcomeLabels { lane: self.lane.clone(), outcome }
    }

    pub(super) fn reason(&self, reason: &str) -> ReasonLabels {
        ReasonLabels { lane: self.lane.clone(), reason: reason.to_owned() }
    }

    pub(super) fn state(&self, state: LaneState) -> StateLabels {
        StateLabels { lane: self.lane.clone(), state: state.as_str() }
    }
}
