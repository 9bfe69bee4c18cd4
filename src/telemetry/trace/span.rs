//! One span as it waits to be exported.

use std::borrow::Cow;

use tokio::time::Instant;

use crate::domain::{SpanId, TraceContext, TraceId};

/// The role of a span, as OpenTelemetry defines it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpanKind {
    /// Work within the service.
    Internal,
    /// A request that is answered.
    Server,
    /// A request to another service.
    Client,
    /// Something is handed over that is processed later.
    Producer,
    /// What was handed over is processed.
    Consumer,
}

/// The value of an attribute.
#[derive(Clone, PartialEq, Debug)]
pub enum SpanValue {
    /// A text without device tokens, keys and content.
    Text(Cow<'static, str>),
    /// A whole number.
    Integer(i64),
    /// A number, such as seconds.
    Float(f64),
}

/// A span that has ended.
#[derive(Clone, PartialEq, Debug)]
pub struct Span {
    /// The name, with few different values.
    pub name: Cow<'static, str>,
    /// What part it has in an exchange with others.
    pub kind: SpanKind,
    /// Its trace and its own id.
    pub context: TraceContext,
    /// The span that it is part of. None: it is the first one of its trace.
    pub parent: Option<SpanId>,
    /// The parent is a span of another process, as far as is known.
    pub has_remote_parent: bool,
    /// When it began.
    pub began: Instant,
    /// When it ended.
    pub ended: Instant,
    /// What it describes failed.
    pub is_error: bool,
    /// Spans of other traces that it belongs to as well.
    pub links: Vec<(TraceId, SpanId)>,
    /// The attributes, each name at most once.
    pub attributes: Vec<(&'static str, SpanValue)>,
}

impl Span {
    /// A span that has no attributes yet, with its begin and its end.
    pub(super) fn new(
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        context: TraceContext,
        parent: Option<SpanId>,
        (began, ended): (Instant, Instant),
    ) -> Self {
        Self {
            name: name.into(),
            kind,
            context,
            parent,
            has_remote_parent: false,
            began,
            ended,
            is_error: false,
            links: Vec::new(),
            attributes: Vec::new(),
        }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<SpanValue>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }

    pub(super) fn with_some(self, name: &'static str, value: Option<impl Into<SpanValue>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

impl From<&'static str> for SpanValue {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for SpanValue {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<i64> for SpanValue {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<u16> for SpanValue {
    fn from(number: u16) -> Self {
        Self::Integer(number.into())
    }
}

impl From<usize> for SpanValue {
    fn from(number: usize) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<f64> for SpanValue {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}
