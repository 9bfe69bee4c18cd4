//! Spans as messages of the OpenTelemetry protocol.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind as Kind};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Message, SpanFlags, Status};
use prost::Message as _;

use super::TraceClock;
use super::span::{Span, SpanKind, SpanValue};
use crate::domain::{SpanId, TraceId};

/// The semantic conventions that the names of spans and attributes follow.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.44.0";

/// `STATUS_CODE_ERROR` of a span's status.
const ERROR: i32 = 2;

/// Encodes spans as the body of a post.
pub(super) fn encode(resource: &[(String, String)], spans: &[Span], clock: &TraceClock) -> Vec<u8> {
    let resource = resource.iter().map(|(name, value)| attribute(name, &value.clone().into())).collect();
    let scope = InstrumentationScope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let spans = spans.iter().map(|span| message(span, clock)).collect();
    let of_scope = ScopeSpans { scope: Some(scope), spans, schema_url: SCHEMA.to_owned() };
    let of_resource = ResourceSpans {
        resource: Some(Resource { attributes: resource, ..Resource::default() }),
        scope_spans: vec![of_scope],
        schema_url: SCHEMA.to_owned(),
    };
    ExportTraceServiceRequest { resource_spans: vec![of_resource] }.encode_to_vec()
}

fn message(span: &Span, clock: &TraceClock) -> Message {
    let began = clock(span.began).timestamp_nanos_opt().and_then(|nanos| u64::try_from(nanos).ok());
    let began = began.unwrap_or_default();
    // Not read from the clock, which a heartbeat may set meanwhile.
    let took = u64::try_from((span.ended - span.began).as_nanos()).unwrap_or_default();
    let remote = if span.has_remote_parent { SpanFlags::ContextIsRemoteMask as u32 } else { 0 };
    let status = Status { code: ERROR, ..Status::default() };
    Message {
        trace_id: span.context.trace_id().0.to_vec(),
        span_id: span.context.span_id().0.to_vec(),
        parent_span_id: span.parent.map(|parent| parent.0.to_vec()).unwrap_or_default(),
        flags: u32::from(span.context.flags()) | SpanFlags::ContextHasIsRemoteMask as u32 | remote,
        name: span.name.clone().into_owned(),
        kind: kind(span.kind).into(),
        start_time_unix_nano: began,
        end_time_unix_nano: began.saturating_add(took),
        attributes: span.attributes.iter().map(|(name, value)| attribute(name, value)).collect(),
        links: span.links.iter().map(link).collect(),
        status: span.is_error.then_some(status),
        ..Message::default()
    }
}

fn link((trace, span): &(TraceId, SpanId)) -> Link {
    Link { trace_id: trace.0.to_vec(), span_id: span.0.to_vec(), ..Link::default() }
}

fn kind(kind: SpanKind) -> Kind {
    match kind {
        SpanKind::Internal => Kind::Internal,
        SpanKind::Server => Kind::Server,
        SpanKind::Client => Kind::Client,
        SpanKind::Producer => Kind::Producer,
        SpanKind::Consumer => Kind::Consumer,
    }
}

fn attribute(name: &str, value: &SpanValue) -> KeyValue {
    let value = match value {
        SpanValue::Text(text) => Value::StringValue(text.clone().into_owned()),
        SpanValue::Integer(number) => Value::IntValue(*number),
        SpanValue::Float(number) => Value::DoubleValue(*number),
    };
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
