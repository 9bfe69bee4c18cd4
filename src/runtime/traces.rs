//! Starts the exporter of traces, if a collector is configured.

use std::sync::Arc;

use anyhow::Context as _;

use crate::config::TelemetrySettings;
use crate::provider::transport;
use crate::queue::node_lease::NodeLease;
use crate::telemetry::metrics::TraceMetrics;
use crate::telemetry::trace::{SpanCounts, TraceExporter, TraceSettings, Tracer};

/// A tracer, and the exporter with its thread. Without a collector the tracer takes no spans, and there is no exporter.
///
/// # Errors
/// No certificate can be checked, or the system refuses the thread.
pub(super) fn start(
    settings: &TelemetrySettings,
    node_lease: &Arc<NodeLease>,
    metrics: &TraceMetrics,
) -> anyhow::Result<(Tracer, Option<TraceExporter>)> {
    let Some(endpoint) = settings.endpoint.clone() else { return Ok((Tracer::default(), None)) };
    let tls = match endpoint.scheme_str() {
        Some("https") => {
            let ca_file = settings.ca_file.as_ref().map(|file| file.path.as_path());
            Some(transport::tls(ca_file).context("telemetry.otlp_endpoint can't be used")?)
        }
        _ => None,
    };
    let own =
        [("service.name", settings.service_name.as_str()), ("service.version", env!("CARGO_PKG_VERSION"))];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let (lease, clock) = (Arc::clone(node_lease), Arc::clone(node_lease));
    let (tracer, exporter) = Tracer::start(TraceSettings {
        endpoint,
        headers: settings.headers.clone(),
        timeout: settings.timeout,
        sample_ratio: settings.sample_ratio,
        resource: own.into_iter().chain(settings.resource.iter().cloned()).collect(),
        instance: Arc::new(move || lease.id().to_string()),
        tls,
        clock: Arc::new(move |at| clock.clock().at(at)),
        counts: SpanCounts {
            exported: metrics.spans_exported.clone(),
            dropped: metrics.spans_dropped.clone(),
        },
    })
    .context("cannot start the thread of the traces")?;
    Ok((tracer, Some(exporter)))
}
