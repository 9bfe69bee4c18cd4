//! The node itself: its build, its place among the other nodes, and how late its threads are.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::label::{SecondsGauge, label_words};
use super::names::Names;

/// The commit that this was built from, if the build was told (`build.rs`).
const COMMIT: &str = match option_env!("PUSHPOST_COMMIT") {
    Some(commit) if !commit.is_empty() => commit,
    _ => "unknown",
};

label_words! {
    /// The threads of a node, by what runs on them.
    RuntimeName {
        /// Requests, the heartbeat and the leader's duties.
        Api "api",
        /// The lanes and the recorder.
        Lanes "lanes",
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
    commit: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RuntimeLabel {
    runtime: &'static str,
}

/// The node itself.
#[derive(Debug)]
pub struct NodeMetrics {
    /// 1 while the heartbeat is answered.
    pub postgres_up: Gauge,
    /// 1 on the leader.
    pub leader: Gauge,
    /// 1 while the node is being shut down.
    pub draining: Gauge,
    /// Time since the last committed heartbeat was asked for.
    pub heartbeat_age_seconds: SecondsGauge,
    /// This machine's clock minus Postgres's.
    pub clock_offset_seconds: SecondsGauge,
    runtime_lag_seconds: Family<RuntimeLabel, SecondsGauge>,
}

impl NodeMetrics {
    pub(super) fn register(names: &mut Names) -> Self {
        let metrics = Self {
            postgres_up: Gauge::default(),
            leader: Gauge::default(),
            draining: Gauge::default(),
            heartbeat_age_seconds: Gauge::default(),
            clock_offset_seconds: Gauge::default(),
            runtime_lag_seconds: Family::default(),
        };
        let build: Family<BuildLabels, Gauge> = Family::default();
        build.get_or_create(&BuildLabels { version: env!("CARGO_PKG_VERSION"), commit: COMMIT }).set(1);
        names.add("pushpost_build_info", "1; the labels name the build", build);
        names.add(
            "pushpost_postgres_up",
            "1 if Postgres answered the heartbeat within the last 10 s",
            metrics.postgres_up.clone(),
        );
        names.add("pushpost_leader", "1 on the leader", metrics.leader.clone());
        names.add("pushpost_draining", "1 while the node is being shut down", metrics.draining.clone());
        names.add(
            "pushpost_heartbeat_age_seconds",
            "Time since the last committed heartbeat",
            metrics.heartbeat_age_seconds.clone(),
        );
        names.add(
            "pushpost_clock_offset_seconds",
            "Clock of this machine minus that of Postgres",
            metrics.clock_offset_seconds.clone(),
        );
        names.add(
            "pushpost_runtime_lag_seconds",
            "Delay of a timer of 1 s on these threads",
            metrics.runtime_lag_seconds.clone(),
        );
        metrics
    }

    /// Delay of a timer of 1 s on these threads.
    pub fn runtime_lag_seconds(&self, runtime: RuntimeName) -> SecondsGauge {
        self.runtime_lag_seconds.get_or_create_owned(&RuntimeLabel { runtime: runtime.as_str() })
    }
}
