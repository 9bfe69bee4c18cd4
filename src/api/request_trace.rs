//! The trace that a request begins or continues. Set by `trace_layer`; the authentication decides which of the two counts.

use http::{HeaderMap, HeaderName};

use crate::domain::{SpanId, TraceContext};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The trace of a request, before its key is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestTrace {
    /// The caller's span, and the request's own one within the caller's trace.
    of_caller: Option<(TraceContext, TraceContext)>,
    /// The request's span in a trace of its own.
    own: TraceContext,
    /// The request is recorded, whatever the caller wants.
    is_sampled: bool,
}

impl RequestTrace {
    /// Reads the request's headers. `is_sampled`: it is recorded, whatever they say.
    pub(super) fn of(headers: &HeaderMap, is_sampled: bool) -> Self {
        let mut given = headers.get_all(TRACEPARENT).iter();
        let only = match (given.next(), given.next()) {
            (Some(only), None) => only.to_str().ok(),
            _ => None,
        };
        let caller = only.and_then(TraceContext::parse);
        let of_caller = caller.map(|caller| (caller, caller.child().sampled()));
        Self { of_caller, own: TraceContext::new_root(), is_sampled }
    }

    /// The request's span. None: it is not recorded.
    pub(super) fn context(&self, has_secret_key: bool) -> Option<TraceContext> {
        self.recorded(has_secret_key).map(|(context, _)| context)
    }

    /// The request's span and its parent. The caller's trace counts for keys of a backend. A publishable key is part of
    /// every copy of an app: with such a key any phone could choose what is recorded.
    pub(super) fn recorded(&self, has_secret_key: bool) -> Option<(TraceContext, Option<SpanId>)> {
        match self.of_caller.filter(|_| has_secret_key) {
            Some((caller, span)) => {
                (self.is_sampled || caller.is_sampled()).then_some((span, Some(caller.span_id())))
            }
            None => self.is_sampled.then_some((self.own, None)),
        }
    }
}
