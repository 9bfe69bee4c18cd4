//! Claims of jobs and records of outcomes.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::Histogram;
use super::families::CauseLabel;
use super::label::label_words;
use super::names::Names;

label_words! {
    /// Why an outcome was not recorded although the device had one.
    DropCause {
        /// Another node had the job by then.
        Late "late",
        /// The job had been recorded already.
        Replayed "replayed",
    }
}

/// Claims of jobs and records of outcomes.
#[derive(Debug)]
pub struct RecordMetrics {
    /// Time of one claim statement.
    pub claim_seconds: Histogram,
    /// Time of one record statement.
    pub record_seconds: Histogram,
    /// Outcomes that are not on record yet.
    pub unrecorded_devices: Gauge,
    dropped: Vec<Counter>,
}

impl RecordMetrics {
    pub(super) fn register(names: &mut Names) -> Self {
        let dropped: Family<CauseLabel, Counter> = Family::default();
        let label = |cause: &DropCause| CauseLabel { cause: cause.as_str() };
        let metrics = Self {
            claim_seconds: Histogram::quick(),
            record_seconds: Histogram::quick(),
            unrecorded_devices: Gauge::default(),
            dropped: DropCause::ALL.iter().map(|cause| dropped.get_or_create_owned(&label(cause))).collect(),
        };
        names.add("pushpost_claim_seconds", "Time of one claim statement", metrics.claim_seconds.clone());
        names.add("pushpost_record_seconds", "Time of one record statement", metrics.record_seconds.clone());
        names.add(
            "pushpost_unrecorded_devices",
            "Outcomes in the memory of this node that are not on record yet",
            metrics.unrecorded_devices.clone(),
        );
        names.add(
            "pushpost_dropped_outcomes_total",
            "Outcomes that the fence kept from being recorded",
            dropped,
        );
        metrics
    }

    /// Outcomes that the fence dropped.
    pub fn dropped(&self, cause: DropCause) -> &Counter {
        &self.dropped[cause as usize]
    }
}
