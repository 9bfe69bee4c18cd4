//! One leased webhook: message after message, until nothing waits, one fails, or the lease is lost.
//!
//! Every post follows a statement that was fenced by the lease. Nothing is locked, and no transaction is open meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::client::Attempted;
use super::message::WebhookMessage;
use super::notes::WaitingNotes;
use super::record::{Success, new_attempt};
use super::services::{WebhookServices, WebhookTarget};
use super::traced::AttemptTrace;
use super::work::{Found, OrderedWork, Work};
use crate::domain::{App, MessageFocus, NextStep, WebhookChange, WebhookOutcome};
use crate::store;
use crate::store::webhooks::{self, Failure, LeasedWebhook, MessageBounds, SetAsideRow};

/// A webhook that always has events gives its lease back after this long, so that what was set aside has its turn.
const LEASE_TIME_MAX: Duration = Duration::from_secs(60);
/// Refusals after which a gap is not told any more.
const GAP_REFUSALS: u32 = 8;

/// Serves one leased webhook.
pub(super) struct Deliverer {
    pub(super) services: Arc<WebhookServices>,
    pub(super) held: LeasedWebhook,
    pub(super) stop: CancellationToken,
    pub(super) notes: WaitingNotes,
    /// Events that are posted one by one: one of them was refused in a message that had the others too.
    one_by_one: usize,
    began: Instant,
}

impl Deliverer {
    pub(super) fn new(services: Arc<WebhookServices>, held: LeasedWebhook, stop: CancellationToken) -> Self {
        Self { services, held, stop, notes: WaitingNotes::default(), one_by_one: 0, began: Instant::now() }
    }

    /// Ends when the lease is given back or lost.
    pub(super) async fn run(mut self) {
        if let Err(error) = self.serve().await {
            tracing::debug!(%error, webhook = self.held.name, "webhook is not served now");
            // Without it no node would serve the webhook as long as this one lives.
            while let Err(error) = self.release().await {
                if !self.may_repeat(&error).await {
                    break;
                }
            }
        }
        self.write_notes().await;
    }

    async fn serve(&mut self) -> Result<(), store::Error> {
        let services = Arc::clone(&self.services);
        let Some(app) = services.apps.get(self.held.app) else { return self.release().await };
        let target = match services.target_of(&app, &self.held).await? {
            Ok(target) => target,
            Err(why) => return self.fail_without_message(&app, why).await,
        };
        let mut next = self.first(&app, &target).await?;
        while let Some(work) = next {
            if self.stop.is_cancelled() || !services.node_lease.may_start(self.held.node) {
                return self.release().await;
            }
            let now = services.node_lease.clock().now();
            let trace = AttemptTrace::begin(&services, &app, work.message()).await?;
            let traceparent = trace.as_ref().map(AttemptTrace::traceparent);
            let signed = work.message().signed(&target.settings.secrets, now, traceparent);
            let attempted = self.post(&target, &signed).await;
            if let Some(trace) = trace {
                trace.end(&services, &app, &target, work.message(), &attempted);
            }
            services.metrics.webhooks.count(&app.name, &self.held.name, attempted.outcome, attempted.elapsed);
            next = self.settle(&app, &target, work, attempted).await?;
        }
        Ok(())
    }

    /// What is posted first under this lease, with its bounds stored. None: the lease is given back.
    async fn first(&mut self, app: &Arc<App>, target: &WebhookTarget) -> Result<Option<Work>, store::Error> {
        let services = Arc::clone(&self.services);
        if let Some(gap) = self.held.gap {
            return Ok(Some(Work::Gap(self.gap_message(app, gap))));
        }
        if self.held.progress.failures == 0
            && let Some((message, row)) = services.find_late(app, target, &self.held).await?
        {
            return Ok(Some(Work::Late(message, row)));
        }
        match services.find_ordered(app, target, &self.held, target.settings.batch_max.into()).await? {
            Found::Ordered(work) => {
                let bounds = MessageBounds { cursor: self.held.cursor, message: Some(work.message.last) };
                let mut conn = services.session().await?;
                match webhooks::record_start(&mut conn, &self.held, bounds).await? {
                    true => Ok(Some(Work::Ordered(work))),
                    false => self.release().await.map(|()| None),
                }
            }
            Found::Nothing(end) => {
                self.held.cursor = end;
                self.release().await.map(|()| None)
            }
            Found::NoEventAhead => {
                let policy = services.registry.policy();
                let (progress, wait) = self.held.progress.without_event_ahead(policy, rand::random());
                let failure = Failure { progress, wait, ..Failure::of(self.held.progress) };
                webhooks::record_failure(&mut services.session().await?, &self.held, &failure, None).await?;
                services.registry.wake_after(wait);
                Ok(None)
            }
            Found::Lost(cursor, gap) => {
                let mut conn = services.session().await?;
                if !webhooks::record_gap(&mut conn, &self.held, cursor, gap).await? {
                    return Ok(None);
                }
                tracing::warn!(
                    app = app.name,
                    webhook = self.held.name,
                    from = %gap.0,
                    to = %gap.1,
                    hint = "raise retention.events if receivers may be away for longer",
                    "events of a webhook were dropped before they were delivered"
                );
                (self.held.cursor, self.held.message, self.held.gap) = (cursor, None, Some(gap));
                Ok(Some(Work::Gap(self.gap_message(app, gap))))
            }
        }
    }

    fn gap_message(
        &self,
        app: &App,
        gap: (chrono::DateTime<chrono::Utc>, chrono::DateTime<chrono::Utc>),
    ) -> WebhookMessage {
        let (held, key) = (&self.held, &self.services.installation);
        WebhookMessage::of_gap(key, (held.id, held.replays), &app.name, held.cursor, gap)
    }

    /// Records what came of an attempt. Returns what is posted next; none: the lease is given back.
    async fn settle(
        &mut self,
        app: &Arc<App>,
        target: &WebhookTarget,
        work: Work,
        attempted: Attempted,
    ) -> Result<Option<Work>, store::Error> {
        if let Work::Late(message, row) = &work {
            return self.settle_late(app, (message, row), &attempted).await.map(|()| None);
        }
        let services = Arc::clone(&self.services);
        let (policy, now) = (services.registry.policy(), services.node_lease.clock().now());
        let before = self.held.progress;
        let step = before.after(attempted.outcome, now, attempted.retry_after, policy, rand::random());
        if attempted.outcome != WebhookOutcome::Delivered {
            self.record_failure(app, &work, &attempted, step).await;
            return Ok(None);
        }
        self.held.progress = step.progress;
        let (end, passed) = match &work {
            Work::Ordered(OrderedWork { end, passed, .. }) => (*end, passed.clone()),
            Work::Gap(_) | Work::Late(..) => (self.held.cursor, Vec::new()),
        };
        (self.held.cursor, self.held.message, self.held.gap) = (end, None, None);
        self.one_by_one = match before.focus {
            MessageFocus::First => target.settings.batch_max.into(),
            MessageFocus::Batch | MessageFocus::Ahead(_) => self.one_by_one.saturating_sub(1),
        };
        let next = self.following(app, target).await;
        let last = next.as_ref().map(|next| next.message.last);
        let bounds = MessageBounds { cursor: end, message: last };
        let (ends_gap, ends_failure) = (matches!(work, Work::Gap(_)), before != step.progress);
        let attempt = new_attempt(work.message(), before.failures, &attempted, &services.node_name);
        let success =
            Success { bounds, ends_gap, ends_failure, attempt, change: step.change, passed: &passed };
        let recorded = loop {
            match self.record_success(&success).await {
                Ok(recorded) => break recorded,
                Err(error) if self.may_repeat(&error).await => {}
                Err(error) => return Err(error),
            }
        };
        if recorded.is_some() {
            self.log_success(app, step, passed.len());
        }
        Ok(next.filter(|_| recorded == Some(true)).map(Work::Ordered))
    }

    /// The message after a success. None also if the log can't be read now, because the success is to be recorded.
    async fn following(&self, app: &Arc<App>, target: &WebhookTarget) -> Option<OrderedWork> {
        if self.stop.is_cancelled() || self.began.elapsed() > LEASE_TIME_MAX {
            return None;
        }
        let batch_max = if self.one_by_one > 0 { 1 } else { target.settings.batch_max.into() };
        match self.services.find_ordered(app, target, &self.held, batch_max).await {
            Ok(Found::Ordered(work)) => Some(work),
            _ => None,
        }
    }

    async fn record_failure(&mut self, app: &App, work: &Work, attempted: &Attempted, step: NextStep) {
        let services = Arc::clone(&self.services);
        let (before, mut progress) = (self.held.progress, step.progress);
        let is_gap = matches!(work, Work::Gap(_));
        let forgets_gap =
            is_gap && attempted.outcome.is_refusing_answer() && progress.failures >= GAP_REFUSALS;
        if is_gap {
            // There is one event to send, so there is nothing to cut and none ahead.
            progress.focus = MessageFocus::Batch;
        }
        let failure = Failure {
            progress,
            wait: step.wait,
            is_disabled: step.change == Some(WebhookChange::Disabled),
            forgets_message: progress.focus != before.focus,
            forgets_gap,
        };
        let attempt = new_attempt(work.message(), before.failures, attempted, &services.node_name);
        let recorded = loop {
            match self.record_failed(&failure, &attempt, step.change, attempted).await {
                Ok(recorded) => break recorded,
                Err(error) if self.may_repeat(&error).await => {}
                Err(_) => break false,
            }
        };
        if recorded {
            self.log_failure(app, step, attempted);
        }
        services.registry.wake_after(failure.wait);
    }

    /// This node can't serve the webhook. That is a failure as any other, so operators see it.
    async fn fail_without_message(&mut self, app: &App, why: String) -> Result<(), store::Error> {
        let services = Arc::clone(&self.services);
        let (policy, now) = (services.registry.policy(), services.node_lease.clock().now());
        let step = self.held.progress.after(WebhookOutcome::Blocked, now, None, policy, rand::random());
        let failure = Failure {
            progress: step.progress,
            wait: step.wait,
            is_disabled: step.change == Some(WebhookChange::Disabled),
            ..Failure::of(step.progress)
        };
        let mut conn = services.session().await?;
        webhooks::record_failure(&mut conn, &self.held, &failure, Some(&why)).await?;
        services.registry.wake_after(step.wait);
        tracing::warn!(app = app.name, webhook = self.held.name, detail = why, "webhook can't be served");
        Ok(())
    }

    /// Records what came of an event that was set aside, and gives the lease back.
    async fn settle_late(
        &mut self,
        app: &App,
        (message, row): (&WebhookMessage, &SetAsideRow),
        attempted: &Attempted,
    ) -> Result<(), store::Error> {
        while let Err(error) = self.record_late(message, row, attempted).await {
            if !self.may_repeat(&error).await {
                return Ok(());
            }
        }
        let error = attempted.error.as_deref();
        tracing::debug!(app = app.name, webhook = self.held.name, error, "set-aside event was sent");
        self.services.registry.wake();
        Ok(())
    }

    fn log_success(&self, app: &App, step: NextStep, set_aside: usize) {
        let (app, webhook) = (&app.name, &self.held.name);
        if set_aside > 0 {
            tracing::warn!(
                app,
                webhook,
                events = set_aside,
                hint =
                    "GET /v1/admin/webhooks/{id}/set-aside lists them; they are sent again hourly for a day",
                "events were set aside, because the receiver refuses them and takes others"
            );
        }
        if step.change == Some(WebhookChange::Recovered) {
            tracing::info!(app, webhook, "webhook works again");
        }
    }

    fn log_failure(&self, app: &App, step: NextStep, attempted: &Attempted) {
        let (app, webhook) = (&app.name, &self.held.name);
        let detail = attempted.error.as_deref().unwrap_or_default();
        match step.change {
            Some(WebhookChange::Disabled) => tracing::error!(
                app,
                webhook,
                detail,
                hint =
                    "mend the receiver, then run pushpost webhooks resume; delivery goes on where it stopped",
                "webhook is disabled"
            ),
            Some(WebhookChange::Failing) => tracing::warn!(app, webhook, detail, "webhook fails"),
            Some(WebhookChange::Recovered) | None => {
                let wait_ms = u64::try_from(step.wait.as_millis()).unwrap_or(u64::MAX);
                tracing::debug!(app, webhook, detail, wait_ms, "attempt of a webhook failed");
            }
        }
    }
}
