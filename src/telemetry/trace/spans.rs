//! The spans that there are, each with its attributes. docs/traces.md has the same table.
//!
//! Names follow OpenTelemetry's semantic conventions. Attributes contain neither device tokens nor users, keys or content.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use tokio::time::Instant;

use super::span::{Span, SpanKind};
use crate::domain::{Job, NodeId, NotificationId, SpanId, TraceContext, TraceId};

/// Attempts of a job that have spans although they were not accepted, if the notification has many targets.
const FAILED_ATTEMPTS_MAX: usize = 20;
/// Stands in `messaging.system`.
const SYSTEM: &str = "pushpost";

/// A request and its answer.
#[derive(Debug)]
pub struct RequestSpan<'a> {
    /// The request's own span.
    pub context: TraceContext,
    /// The caller's span, if its `traceparent` counts.
    pub caller: Option<SpanId>,
    /// The request's method.
    pub method: &'a Method,
    /// The pattern of the path, because a path may contain a client's data.
    pub route: &'a str,
    /// The answer's status.
    pub status: u16,
    /// As the answer's header has it.
    pub request_id: Option<&'a str>,
    /// The app of the key. None: no key was recognised.
    pub app: Option<&'a str>,
    /// When the head had been read.
    pub began: Instant,
    /// When the answer's head was written.
    pub ended: Instant,
}

impl From<RequestSpan<'_>> for Span {
    fn from(of: RequestSpan<'_>) -> Self {
        let method = match of.method.as_str() {
            "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" | "CONNECT" | "TRACE" => {
                of.method.as_str()
            }
            _ => "_OTHER",
        };
        let (name, route) = (format!("{method} {}", of.route), of.route.to_owned());
        let is_error = of.status >= 500;
        let span = Self::new(name, SpanKind::Server, of.context, of.caller, (of.began, of.ended))
            .with("http.request.method", method.to_owned())
            .with("http.route", route.clone())
            .with("http.response.status_code", of.status)
            .with("url.scheme", "http")
            .with("url.path", route)
            .with_some("error.type", is_error.then(|| of.status.to_string()))
            .with_some("pushpost.request_id", of.request_id.map(str::to_owned))
            .with_some("pushpost.app", of.app.map(str::to_owned));
        Self { has_remote_parent: of.caller.is_some(), is_error, ..span }
    }
}

/// A notification was stored.
#[derive(Debug)]
pub struct SendSpan<'a> {
    /// The span's own context, which the jobs of the notification have.
    pub context: TraceContext,
    /// The span of the request.
    pub request: SpanId,
    /// The app that sends it.
    pub app: &'a str,
    /// The notification that was stored.
    pub notification: NotificationId,
    /// Notifications that shared the COMMIT.
    pub batch: usize,
    /// Number of targets. None: not all are found yet.
    pub targets: Option<usize>,
    /// When the statement was sent.
    pub began: Instant,
    /// When its COMMIT was answered.
    pub ended: Instant,
}

impl From<SendSpan<'_>> for Span {
    fn from(of: SendSpan<'_>) -> Self {
        Self::new("send notification", SpanKind::Producer, of.context, Some(of.request), (of.began, of.ended))
            .with("messaging.system", SYSTEM)
            .with("messaging.operation.name", "send")
            .with("messaging.operation.type", "send")
            .with("messaging.message.id", of.notification.to_string())
            .with("pushpost.batch", of.batch)
            .with_some("pushpost.targets", of.targets)
            .with("pushpost.app", of.app.to_owned())
    }
}

/// One page of an audience was found, or the named devices of a scheduled notification.
#[derive(Debug)]
pub struct ExpandSpan<'a> {
    /// The context of [`SendSpan`].
    pub send: TraceContext,
    /// The app that sends.
    pub app: &'a str,
    /// The number of the page, from 1. 0: the devices that a scheduled notification names.
    pub page: i64,
    /// Devices that became targets.
    pub targets: i64,
    /// When the page's transaction began.
    pub began: Instant,
    /// When its COMMIT was answered.
    pub ended: Instant,
}

impl From<ExpandSpan<'_>> for Span {
    fn from(of: ExpandSpan<'_>) -> Self {
        let (context, parent) = (of.send.child(), Some(of.send.span_id()));
        Self::new("expand audience", SpanKind::Internal, context, parent, (of.began, of.ended))
            .with("pushpost.page", of.page)
            .with("pushpost.targets", of.targets)
            .with("pushpost.app", of.app.to_owned())
    }
}

/// How a job came to its lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JobPath {
    /// In memory, by the request that made it.
    HandOver,
    /// From the table.
    Claim,
}

/// The trace of a job that is leased to this node.
#[derive(Debug)]
pub struct JobTrace {
    /// The job's span, which its attempts and its record have as parent.
    context: TraceContext,
    send: TraceContext,
    /// As logs name it: `shop/fcm`.
    lane: String,
    path: JobPath,
    waited_seconds: f64,
    began: Instant,
    failed_attempts: AtomicUsize,
}

impl JobTrace {
    /// Begins the span of a job with this trace, which waited so long after it was due.
    pub fn begin(send: TraceContext, lane: &str, path: JobPath, waited_seconds: f64) -> Self {
        Self {
            context: send.child(),
            send,
            lane: lane.to_owned(),
            path,
            waited_seconds,
            began: Instant::now(),
            failed_attempts: AtomicUsize::new(0),
        }
    }

    /// The context of the job's span.
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// Whether an attempt gets a span: each of a notification with few targets, else the first
    /// [`FAILED_ATTEMPTS_MAX`] of the job that were not accepted.
    pub fn wants_attempt(&self, is_accepted: bool) -> bool {
        self.context.is_of_few_targets()
            || !is_accepted && self.failed_attempts.fetch_add(1, Ordering::Relaxed) < FAILED_ATTEMPTS_MAX
    }

    fn app(&self) -> String {
        self.lane.split('/').next().unwrap_or_default().to_owned()
    }
}

/// A job was processed: its devices were sent to, and recorded or given back.
#[derive(Debug)]
pub struct JobSpan<'a> {
    /// The job's trace.
    pub trace: &'a JobTrace,
    /// The job as it was leased.
    pub job: &'a Job,
    /// The node that held it.
    pub node: NodeId,
    /// When the lease ended.
    pub ended: Instant,
}

impl From<JobSpan<'_>> for Span {
    fn from(of: JobSpan<'_>) -> Self {
        let (trace, job) = (of.trace, of.job);
        let devices = job.open_positions().count();
        let path = match trace.path {
            JobPath::HandOver => "handover",
            JobPath::Claim => "claim",
        };
        let (name, parent) = (format!("process {}", trace.lane), Some(trace.send.span_id()));
        let span = Self::new(name, SpanKind::Consumer, trace.context, parent, (trace.began, of.ended))
            .with("messaging.system", SYSTEM)
            .with("messaging.operation.name", "process")
            .with("messaging.operation.type", "process")
            .with("messaging.message.id", job.notification.to_string())
            .with("messaging.destination.name", trace.lane.clone())
            .with_some("messaging.batch.message_count", (devices > 1).then_some(devices))
            .with("pushpost.path", path)
            .with("pushpost.attempt", job.attempt)
            .with("pushpost.priority", job.priority.as_str())
            .with("pushpost.wait_seconds", trace.waited_seconds)
            .with("pushpost.node", i64::from(of.node.0))
            .with("pushpost.app", trace.app());
        Self { has_remote_parent: trace.path == JobPath::Claim, ..span }
    }
}

/// One attempt at one device.
#[derive(Debug)]
pub struct AttemptSpan<'a> {
    /// The trace of its job.
    pub trace: &'a JobTrace,
    /// The provider's host. None: no request was written.
    pub host: Option<&'a str>,
    /// The port at the provider's host.
    pub port: Option<u16>,
    /// The URL, without the token.
    pub url: Option<&'a str>,
    /// The status of the answer. None: there was none.
    pub status: Option<u16>,
    /// How often the request was written again within the attempt.
    pub resends: u32,
    /// What the attempt came to.
    pub outcome: &'static str,
    /// The provider's reason, or ours. None: accepted.
    pub reason: Option<&'a str>,
    /// The public id of the device.
    pub device: String,
    /// When the attempt began.
    pub began: Instant,
    /// When the answer was read.
    pub ended: Instant,
}

impl From<AttemptSpan<'_>> for Span {
    fn from(of: AttemptSpan<'_>) -> Self {
        let (context, parent) = (of.trace.context.child(), Some(of.trace.context.span_id()));
        let span = Self::new("POST", SpanKind::Client, context, parent, (of.began, of.ended))
            .with("http.request.method", "POST")
            .with_some("server.address", of.host.map(str::to_owned))
            .with_some("server.port", of.port)
            .with_some("url.full", of.url.map(str::to_owned))
            .with_some("http.response.status_code", of.status)
            .with_some("http.request.resend_count", (of.resends > 0).then_some(i64::from(of.resends)))
            .with_some("error.type", of.reason.map(str::to_owned))
            .with("pushpost.outcome", of.outcome)
            .with("pushpost.device", of.device)
            .with("pushpost.app", of.trace.app());
        Self { is_error: of.reason.is_some(), ..span }
    }
}

/// Outcomes of a job waited for their record.
#[derive(Debug)]
pub struct SettleSpan<'a> {
    /// The trace of the job.
    pub trace: &'a JobTrace,
    /// Jobs that shared the COMMIT.
    pub batch: usize,
    /// When the last of the outcomes was known.
    pub began: Instant,
    /// When the COMMIT was answered.
    pub ended: Instant,
}

impl From<SettleSpan<'_>> for Span {
    fn from(of: SettleSpan<'_>) -> Self {
        let (context, parent) = (of.trace.context.child(), Some(of.trace.context.span_id()));
        let name = format!("settle {}", of.trace.lane);
        Self::new(name, SpanKind::Client, context, parent, (of.began, of.ended))
            .with("messaging.system", SYSTEM)
            .with("messaging.operation.name", "settle")
            .with("messaging.operation.type", "settle")
            .with("messaging.destination.name", of.trace.lane.clone())
            .with("pushpost.batch", of.batch)
            .with("pushpost.app", of.trace.app())
    }
}

/// One attempt to post a message to a webhook.
#[derive(Debug)]
pub struct WebhookSpan<'a> {
    /// The span's own context, the first one of its trace, which the receiver gets.
    pub context: TraceContext,
    /// The spans of the notifications that the message tells of.
    pub links: Vec<(TraceId, SpanId)>,
    /// The app the events of which it gets.
    pub app: &'a str,
    /// The webhook's name.
    pub endpoint: &'a str,
    /// The receiver's host, or its address.
    pub host: String,
    /// The port at the host.
    pub port: u16,
    /// Scheme, host and port.
    pub origin: String,
    /// Events of the message.
    pub events: i64,
    /// The status of the answer. None: there was none.
    pub status: Option<u16>,
    /// What the attempt came to.
    pub outcome: &'static str,
    /// When the attempt began.
    pub began: Instant,
    /// When the answer was read, or the attempt given up.
    pub ended: Instant,
}

impl From<WebhookSpan<'_>> for Span {
    fn from(of: WebhookSpan<'_>) -> Self {
        let is_error = of.outcome != "ok";
        let error = of.status.map_or(of.outcome.to_owned(), |status| status.to_string());
        let name = format!("webhook {}", of.endpoint);
        let span = Self::new(name, SpanKind::Client, of.context, None, (of.began, of.ended))
            .with("http.request.method", "POST")
            .with("server.address", of.host)
            .with("server.port", of.port)
            // Path and query may hold a secret.
            .with("url.full", format!("{}/REDACTED", of.origin))
            .with_some("http.response.status_code", of.status)
            .with_some("error.type", is_error.then_some(error))
            .with("pushpost.outcome", of.outcome)
            .with("pushpost.endpoint", of.endpoint.to_owned())
            .with("messaging.batch.message_count", of.events)
            .with("pushpost.app", of.app.to_owned());
        Self { is_error, links: of.links, ..span }
    }
}
