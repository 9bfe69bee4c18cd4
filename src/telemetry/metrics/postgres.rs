//! Statements and connections of the pools.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::Histogram;
use super::families::Histograms;
use super::label::label_words;
use super::names::Names;

label_words! {
    /// What kind of error a statement or a connection attempt ended with.
    PostgresErrorClass {
        /// The connection was lost or refused, or the server is read-only.
        Connection "connection",
        /// No answer by the deadline, no free connection in time, or a lock that was not free in time.
        Timeout "timeout",
        /// Another transaction changed the same rows.
        Serialization "serialization",
        /// A value that can't be stored.
        Data "data",
        /// An error of another kind.
        Other "other",
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct PoolLabel {
    pool: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ConnectionLabels {
    pool: &'static str,
    state: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ClassLabel {
    class: &'static str,
}

/// Statements and connections of the pools. A clone counts into the same metrics.
#[derive(Clone, Debug)]
pub struct PostgresMetrics {
    seconds: Histograms<PoolLabel>,
    wait: Histograms<PoolLabel>,
    connections: Family<ConnectionLabels, Gauge>,
    errors: Family<ClassLabel, Counter>,
}

impl Default for PostgresMetrics {
    /// Metrics that are shown nowhere: for the pools of commands and tests.
    fn default() -> Self {
        let metrics = Self {
            seconds: Family::new_with_constructor(Histogram::quick),
            wait: Family::new_with_constructor(Histogram::quick),
            connections: Family::default(),
            errors: Family::default(),
        };
        for class in PostgresErrorClass::ALL {
            drop(metrics.errors.get_or_create(&ClassLabel { class: class.as_str() }));
        }
        metrics
    }
}

impl PostgresMetrics {
    pub(super) fn register(names: &mut Names) -> Self {
        let metrics = Self::default();
        names.add("pushpost_postgres_seconds", "Time of a statement", metrics.seconds.clone());
        names.add("pushpost_postgres_wait_seconds", "Wait for a connection of a pool", metrics.wait.clone());
        names.add(
            "pushpost_postgres_connections",
            "Connections, by whether something uses them",
            metrics.connections.clone(),
        );
        names.add(
            "pushpost_postgres_errors_total",
            "Failed statements and connection attempts",
            metrics.errors.clone(),
        );
        metrics
    }

    /// The metrics of a pool.
    pub fn pool(&self, pool: &'static str) -> PoolMetrics {
        let state = |state| self.connections.get_or_create_owned(&ConnectionLabels { pool, state });
        let error = |class: &PostgresErrorClass| {
            self.errors.get_or_create_owned(&ClassLabel { class: class.as_str() })
        };
        PoolMetrics {
            seconds: self.seconds.get_or_create_owned(&PoolLabel { pool }),
            wait: self.wait.get_or_create_owned(&PoolLabel { pool }),
            idle: state("idle"),
            used: state("used"),
            errors: PostgresErrorClass::ALL.iter().map(error).collect(),
        }
    }
}

/// Statements and connections of one pool.
#[derive(Clone, Debug)]
pub struct PoolMetrics {
    /// Time of a statement, failed ones included.
    pub seconds: Histogram,
    /// Wait for a connection, its opening included.
    pub wait: Histogram,
    /// Connections that wait for their next use.
    pub idle: Gauge,
    /// Connections that are lent, or being opened to be lent.
    pub used: Gauge,
    errors: Vec<Counter>,
}

impl PoolMetrics {
    /// Failed statements and connection attempts, of all pools together.
    pub fn errors(&self, class: PostgresErrorClass) -> &Counter {
        &self.errors[class as usize]
    }
}
