//! Registers metrics under their full public names, from which it takes the unit.

use prometheus_client::collector::Collector;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Metric, Registry, Unit};

/// The registry of a node, while its groups enter their metrics.
pub(super) struct Names<'r>(&'r mut Registry);

impl<'r> Names<'r> {
    pub(super) fn new(registry: &'r mut Registry) -> Self {
        Self(registry)
    }

    /// Enters a metric. `name` is the name of its samples, with `_total` if it is a counter. `help` is a sentence without
    /// its full stop.
    pub(super) fn add(&mut self, name: &'static str, help: &'static str, metric: impl Metric) {
        let (stem, unit) = split(name, metric.metric_type());
        match unit {
            Some(unit) => self.0.register_with_unit(stem, help, unit, metric),
            None => self.0.register(stem, help, metric),
        }
    }

    /// Enters metrics that are made anew at each scrape.
    pub(super) fn add_collector(&mut self, collector: impl Collector) {
        self.0.register_collector(Box::new(collector));
    }
}

/// A name without what the encoder appends, and the unit that the name ends in.
pub(super) fn split(name: &'static str, kind: MetricType) -> (&'static str, Option<Unit>) {
    let stem = match kind {
        MetricType::Counter => name.strip_suffix("_total").unwrap_or(name),
        _ => name,
    };
    let units =
        [("_seconds", Unit::Seconds), ("_bytes", Unit::Bytes), ("_ratio", Unit::Other("ratio".to_owned()))];
    for (suffix, unit) in units {
        if let Some(stem) = stem.strip_suffix(suffix) {
            return (stem, Some(unit));
        }
    }
    (stem, None)
}
