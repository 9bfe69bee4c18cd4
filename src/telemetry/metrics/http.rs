//! Requests and connections of clients.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::Histogram;
use super::families::Histograms;
use super::names::Names;

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: &'static str,
    code: u16,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RouteLabel {
    route: String,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct CodeLabel {
    code: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ListenerLabel {
    listener: &'static str,
}

/// Requests and connections of clients.
#[derive(Debug)]
pub struct HttpMetrics {
    requests: Family<RequestLabels, Counter>,
    seconds: Histograms<RouteLabel>,
    refused: Family<CodeLabel, Counter>,
    connections: Family<ListenerLabel, Gauge>,
    routes: RwLock<HashMap<String, Arc<RouteMetrics>>>,
}

impl HttpMetrics {
    pub(super) fn register(names: &mut Names) -> Self {
        let metrics = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(Histogram::quick),
            refused: Family::default(),
            connections: Family::default(),
            routes: RwLock::default(),
        };
        let Self { requests, seconds, refused, connections, .. } = &metrics;
        names.add("pushpost_http_requests_total", "Answered requests", requests.clone());
        names.add(
            "pushpost_http_request_seconds",
            "Time from the head of a request to the last byte of its answer, or to the first byte of a stream",
            seconds.clone(),
        );
        names.add(
            "pushpost_http_refused_total",
            "Requests answered 401, 403, 413, 429 or 503, by the code of the problem",
            refused.clone(),
        );
        names.add("pushpost_http_connections", "Open connections of clients", connections.clone());
        metrics
    }

    /// The metrics of a route, by its pattern.
    pub fn of_route(&self, pattern: &str) -> Arc<RouteMetrics> {
        let known = self.routes.read().unwrap_or_else(PoisonError::into_inner).get(pattern).map(Arc::clone);
        known.unwrap_or_else(|| {
            let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
            let route = routes.entry(pattern.to_owned()).or_insert_with(|| {
                let seconds = self.seconds.get_or_create_owned(&RouteLabel { route: pattern.to_owned() });
                let (route, requests) = (pattern.to_owned(), self.requests.clone());
                Arc::new(RouteMetrics { seconds, route, requests, answers: RwLock::default() })
            });
            Arc::clone(route)
        })
    }

    /// Requests refused with the problem of this code.
    pub fn refused(&self, code: &'static str) -> Counter {
        self.refused.get_or_create_owned(&CodeLabel { code })
    }

    /// Open connections of the listener that this key of the configuration names.
    pub fn connections(&self, listener: &'static str) -> Gauge {
        self.connections.get_or_create_owned(&ListenerLabel { listener })
    }
}

/// The requests of one route.
#[derive(Debug)]
pub struct RouteMetrics {
    /// Time from the head of a request to the last byte of its answer, or to the first byte of a stream.
    pub seconds: Histogram,
    route: String,
    requests: Family<RequestLabels, Counter>,
    /// By method and status. They are few.
    answers: RwLock<Vec<((&'static str, u16), Counter)>>,
}

impl RouteMetrics {
    /// Counts an answer. `method` is one of a closed list.
    pub fn count(&self, method: &'static str, status: u16) {
        let answers = self.answers.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, counter)) = answers.iter().find(|(labels, _)| *labels == (method, status)) {
            counter.inc();
            return;
        }
        drop(answers);
        let labels = RequestLabels { route: self.route.clone(), method, code: status };
        let counter = self.requests.get_or_create_owned(&labels);
        counter.inc();
        self.answers.write().unwrap_or_else(PoisonError::into_inner).push(((method, status), counter));
    }
}
