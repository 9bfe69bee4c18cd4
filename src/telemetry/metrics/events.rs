//! The event log.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::names::Names;
use crate::domain::FactKind;

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct TypeLabel {
    r#type: &'static str,
}

/// The event log.
#[derive(Debug)]
pub struct EventMetrics {
    /// In the order of [`FactKind::ALL`].
    logged: Vec<Counter>,
}

impl EventMetrics {
    pub(super) fn register(names: &mut Names) -> Self {
        let logged: Family<TypeLabel, Counter> = Family::default();
        let of = |kind: &FactKind| logged.get_or_create_owned(&TypeLabel { r#type: kind.as_str() });
        let metrics = Self { logged: FactKind::ALL.iter().map(of).collect() };
        names.add("pushpost_events_total", "Events that this node added to the log", logged);
        metrics
    }

    /// Events of a kind of fact that this node added to the log.
    pub fn logged(&self, kind: FactKind) -> &Counter {
        &self.logged[kind as usize]
    }
}
