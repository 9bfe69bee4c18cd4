//! The spans of attempts, each the first one of its trace, with links to the notifications that its message tells of.

use tokio::time::Instant;

use super::client::Attempted;
use super::message::WebhookMessage;
use super::services::{WebhookServices, WebhookTarget};
use crate::domain::{App, SpanId, TraceContext, TraceId};
use crate::store;
use crate::telemetry::trace::WebhookSpan;

/// Links of a span at most.
const LINKS_MAX: usize = 32;

/// The trace of an attempt that begins.
pub(super) struct AttemptTrace {
    context: TraceContext,
    links: Vec<(TraceId, SpanId)>,
    began: Instant,
}

impl AttemptTrace {
    /// None: no notification of the message is traced.
    pub(super) async fn begin(
        services: &WebhookServices,
        app: &App,
        message: &WebhookMessage,
    ) -> Result<Option<Self>, store::Error> {
        if !services.tracer.is_on() || message.notifications.is_empty() {
            return Ok(None);
        }
        let mut conn = services.session().await?;
        let traced = store::notifications::traces_of(&mut conn, app.id, &message.notifications).await?;
        drop(conn);
        let link = |(notification, trace)| (trace, SpanId::of_notification(notification));
        let links: Vec<_> = traced.into_iter().map(link).take(LINKS_MAX).collect();
        let context = TraceContext::new_root();
        Ok((!links.is_empty()).then(|| Self { context, links, began: Instant::now() }))
    }

    /// The header that the receiver gets.
    pub(super) fn traceparent(&self) -> String {
        self.context.to_traceparent()
    }

    /// Writes the span.
    pub(super) fn end(
        self,
        services: &WebhookServices,
        app: &App,
        target: &WebhookTarget,
        message: &WebhookMessage,
        attempted: &Attempted,
    ) {
        let url = &target.settings.url;
        services.tracer.write(WebhookSpan {
            context: self.context,
            links: self.links,
            app: &app.name,
            endpoint: target.settings.name.as_str(),
            host: url.host(),
            port: url.port(),
            origin: url.origin(),
            events: message.events.into(),
            status: attempted.status,
            outcome: attempted.outcome.as_str(),
            began: self.began,
            ended: Instant::now(),
        });
    }
}
