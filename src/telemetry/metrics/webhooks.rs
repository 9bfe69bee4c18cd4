//! Attempts of webhooks.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::Histogram;
use super::families::{AppLabel, Histograms};
use super::names::Names;
use crate::domain::WebhookOutcome;

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct AttemptLabels {
    app: String,
    endpoint: String,
    outcome: &'static str,
}

/// Attempts of webhooks. An attempt takes milliseconds, so its series are looked up each time.
#[derive(Debug)]
pub struct WebhookMetrics {
    attempts: Family<AttemptLabels, Counter>,
    seconds: Histograms<AppLabel>,
}

impl WebhookMetrics {
    pub(super) fn register(names: &mut Names) -> Self {
        let metrics =
            Self { attempts: Family::default(), seconds: Family::new_with_constructor(Histogram::quick) };
        let Self { attempts, seconds } = &metrics;
        names.add("pushpost_webhook_attempts_total", "Attempts to post to a webhook", attempts.clone());
        names.add("pushpost_webhook_seconds", "Time of one post to a webhook", seconds.clone());
        metrics
    }

    /// Counts an attempt.
    pub fn count(&self, app: &str, endpoint: &str, outcome: WebhookOutcome, elapsed: Duration) {
        self.attempts.get_or_create_owned(&labels(app, endpoint, outcome)).inc();
        self.seconds.get_or_create_owned(&AppLabel { app: app.to_owned() }).observe(elapsed);
    }
}

fn labels(app: &str, endpoint: &str, outcome: WebhookOutcome) -> AttemptLabels {
    AttemptLabels { app: app.to_owned(), endpoint: endpoint.to_owned(), outcome: outcome.as_str() }
}
