//! Records what came of an attempt, under the lease, and repeats that while Postgres is out of reach.

use std::time::Duration;

use tokio::time::sleep;

use super::client::Attempted;
use super::delivery::Deliverer;
use super::facts;
use super::message::WebhookMessage;
use crate::domain::{EventPlace, WebhookChange};
use crate::store::webhooks::{self, Failure, MessageBounds, NewAttempt, NewSuccess, SetAsideRow};
use crate::store::{self, Session};

/// Between two tries to record what came of an attempt, or to give a lease back.
const RECORD_RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// What is recorded of a success.
pub(super) struct Success<'a> {
    pub(super) bounds: MessageBounds,
    pub(super) ends_gap: bool,
    /// The attempts before it failed, or another message than the next one was tried.
    pub(super) ends_failure: bool,
    pub(super) attempt: NewAttempt<'a>,
    pub(super) change: Option<WebhookChange>,
    /// Events that are set aside.
    pub(super) passed: &'a [EventPlace],
}

impl Deliverer {
    /// None: the lease was lost. Else whether the next message may be sent.
    pub(super) async fn record_success(
        &mut self,
        success: &Success<'_>,
    ) -> Result<Option<bool>, store::Error> {
        let Success { bounds, ends_gap, ends_failure, attempt, .. } = success;
        let mut conn = self.services.session().await?;
        if let Some(message) = bounds.message
            && !ends_gap
            && !ends_failure
            && self.notes.has_room()
        {
            let recorded = webhooks::record_progress(&mut conn, &self.held, bounds.cursor, message).await?;
            return Ok(recorded.map(|(at, may_go_on)| {
                self.notes.add(attempt, at);
                may_go_on
            }));
        }
        let notes = self.notes.with(attempt);
        let written = self.write_success(&mut conn, success, &notes).await;
        if written.as_ref().map_or_else(store::Error::is_lost_answer, Option::is_some) {
            self.notes.clear();
        }
        written
    }

    /// Records a success with the notes of those before it.
    async fn write_success(
        &self,
        conn: &mut Session,
        success: &Success<'_>,
        notes: &[NewSuccess],
    ) -> Result<Option<bool>, store::Error> {
        let Success { bounds, ends_gap, attempt, change, passed, .. } = success;
        let (held, noted) = (&self.held, (notes, attempt.node_name));
        if change.is_none() && passed.is_empty() {
            return webhooks::record_success(conn, held, *bounds, *ends_gap, noted).await;
        }
        let mut transaction = conn.begin().await?;
        let may_go_on = webhooks::record_success(&mut transaction, held, *bounds, *ends_gap, noted).await?;
        if may_go_on.is_some() {
            self.set_aside(&mut transaction, passed).await?;
            facts::append_recovery(&mut transaction, &self.services, held, *change).await?;
        }
        transaction.commit().await?;
        Ok(may_go_on)
    }

    async fn set_aside(&self, conn: &mut Session, passed: &[EventPlace]) -> Result<(), store::Error> {
        if passed.is_empty() {
            return Ok(());
        }
        let (status, error) = webhooks::last_failure(conn, self.held.id).await?.unwrap_or_default();
        let last = (status, error.as_deref());
        webhooks::set_aside(conn, self.held.id, passed, last).await?;
        facts::append_set_aside(conn, &self.services, &self.held, passed, last).await
    }

    /// False: the lease was lost.
    pub(super) async fn record_failed(
        &mut self,
        failure: &Failure,
        attempt: &NewAttempt<'_>,
        change: Option<WebhookChange>,
        attempted: &Attempted,
    ) -> Result<bool, store::Error> {
        let mut conn = self.services.session().await?;
        let written = self.write_failure(&mut conn, failure, attempt, change, attempted).await;
        if written.as_ref().map_or_else(store::Error::is_lost_answer, |is_held| *is_held) {
            self.notes.clear();
        }
        written
    }

    async fn write_failure(
        &self,
        conn: &mut Session,
        failure: &Failure,
        attempt: &NewAttempt<'_>,
        change: Option<WebhookChange>,
        attempted: &Attempted,
    ) -> Result<bool, store::Error> {
        let mut transaction = conn.begin().await?;
        let why = attempted.error.as_deref();
        let is_held = webhooks::record_failure(&mut transaction, &self.held, failure, why).await?;
        if is_held {
            if !self.notes.all().is_empty() {
                let notes = self.notes.all();
                webhooks::note_successes(&mut transaction, self.held.id, notes, attempt.node_name).await?;
            }
            webhooks::note_attempt(&mut transaction, self.held.id, attempt).await?;
            let since = failure.progress.failing_since;
            facts::append_failure(&mut transaction, &self.services, &self.held, change, since, attempted)
                .await?;
        }
        transaction.commit().await?;
        Ok(is_held)
    }

    pub(super) async fn record_late(
        &self,
        message: &WebhookMessage,
        row: &SetAsideRow,
        attempted: &Attempted,
    ) -> Result<(), store::Error> {
        let attempt = new_attempt(message, row.attempts.cast_unsigned(), attempted, &self.services.node_name);
        let mut conn = self.services.session().await?;
        let mut transaction = conn.begin().await?;
        let (id, place) = (self.held.id, row.place);
        match &attempted.error {
            None => webhooks::remove_set_aside(&mut transaction, id, place).await?,
            Some(error) => {
                webhooks::note_set_aside_failure(&mut transaction, id, place, attempt.status, error).await?;
            }
        }
        webhooks::note_attempt(&mut transaction, id, &attempt).await?;
        webhooks::release(&mut transaction, &self.held, self.held.cursor).await?;
        transaction.commit().await?;
        Ok(())
    }

    pub(super) async fn release(&self) -> Result<(), store::Error> {
        let mut conn = self.services.session().await?;
        webhooks::release(&mut conn, &self.held, self.held.cursor).await?;
        Ok(())
    }

    /// Whether a statement is repeated, after a pause: while Postgres is out of reach, and the lease may still be held.
    pub(super) async fn may_repeat(&self, error: &store::Error) -> bool {
        if !error.is_unavailable() || self.services.node_lease.id() != self.held.node {
            tracing::warn!(%error, webhook = self.held.name, "what came of an attempt is not recorded");
            return false;
        }
        tracing::debug!(%error, webhook = self.held.name, "what came of an attempt is not recorded yet");
        tokio::select! {
            // Other nodes declare this one dead, and send the message again with the same id.
            () = self.stop.cancelled() => false,
            () = sleep(RECORD_RETRY_INTERVAL) => true,
        }
    }
}

/// The attempt as it is noted.
pub(super) fn new_attempt<'a>(
    message: &'a WebhookMessage,
    failures: u32,
    attempted: &'a Attempted,
    node_name: &'a str,
) -> NewAttempt<'a> {
    NewAttempt {
        message: &message.id,
        events: message.events,
        attempt: i32::try_from(failures).unwrap_or(i32::MAX).saturating_add(1),
        status: attempted.status.and_then(|status| i16::try_from(status).ok()),
        error: attempted.error.as_deref(),
        elapsed_ms: i32::try_from(attempted.elapsed.as_millis()).unwrap_or(i32::MAX),
        response: &attempted.response,
        node_name,
    }
}
