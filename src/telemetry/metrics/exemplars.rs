//! Exemplars of the wait for the first attempt: for each bucket the trace of a push that fell into it. OpenMetrics shows them
//! behind the bucket.
//!
//! They are put into the text afterwards, because `prometheus_client` makes exemplars only in its own histograms, which have
//! a lock.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use crate::domain::TraceContext;

/// How a line of a bucket begins, before its bound.
const BUCKET: &str = "pushpost_post_to_provider_seconds_bucket{le=\"";

/// The latest exemplar of each bucket, by the other labels of its line and the bits of its bound.
#[derive(Debug, Default)]
pub(super) struct Exemplars(Mutex<BTreeMap<(String, u64), Exemplar>>);

#[derive(Debug)]
struct Exemplar {
    trace: TraceContext,
    seconds: f64,
}

impl Exemplars {
    /// Keeps the trace of a push that waited for `seconds`, which is in the bucket with this bound. `labels`: as a line has
    /// them after the bound. Never waits: while the metrics are read, the exemplar is left out.
    pub(super) fn note(&self, labels: String, bound: f64, seconds: f64, trace: TraceContext) {
        if let Ok(mut exemplars) = self.0.try_lock() {
            exemplars.insert((labels, bound.to_bits()), Exemplar { trace, seconds });
        }
    }

    /// The text of OpenMetrics with the exemplars in it.
    pub(super) fn added_to(&self, text: String) -> String {
        let exemplars = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if exemplars.is_empty() {
            return text;
        }
        let mut with_exemplars = String::with_capacity(text.len() + 128 * exemplars.len());
        for line in text.lines() {
            with_exemplars.push_str(line);
            if let Some(Exemplar { trace, seconds }) = place(line).and_then(|place| exemplars.get(&place)) {
                let written = write!(with_exemplars, " # {{trace_id=\"{trace}\"}} {seconds:?}");
                written.expect("a string takes any text");
            }
            with_exemplars.push('\n');
        }
        with_exemplars
    }
}

/// The bucket of a line: its labels, and the bits of its bound. None: the line is another one.
fn place(line: &str) -> Option<(String, u64)> {
    let (bound, rest) = line.strip_prefix(BUCKET)?.split_once("\",")?;
    let (labels, _count) = rest.split_once('}')?;
    Some((labels.to_owned(), bound.parse::<f64>().ok()?.to_bits()))
}
