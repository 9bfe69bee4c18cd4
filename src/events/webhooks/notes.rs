//! Successes that are noted together: a note costs Postgres an insert into two indexes and a look-up of its webhook, and a webhook
//! at the end of the log has many successes a second.
//!
//! The cursor moves with every success. Only the notes for operators wait, at most a second while the lease lasts. A process that is
//! killed loses them, and nothing else.

use std::pin::pin;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::{Instant, sleep_until};

use super::client::{Attempted, SignedMessage};
use super::delivery::Deliverer;
use super::services::WebhookTarget;
use crate::store::webhooks::{self, NewAttempt, NewSuccess};

/// Successes that are noted together at most.
const TOGETHER_MAX: usize = 20;
/// How long a note waits. Operators look at attempts while they mend a receiver.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Successes that are not noted yet.
#[derive(Debug, Default)]
pub(super) struct WaitingNotes {
    notes: Vec<NewSuccess>,
    due_at: Option<Instant>,
}

impl WaitingNotes {
    /// May one more success wait?
    pub(super) fn has_room(&self) -> bool {
        self.notes.len() + 1 < TOGETHER_MAX && self.due_at.is_none_or(|due_at| Instant::now() < due_at)
    }

    /// A success that was recorded at this time, by Postgres's clock.
    pub(super) fn add(&mut self, attempt: &NewAttempt<'_>, at: DateTime<Utc>) {
        self.notes.push(note(attempt, Some(at)));
        self.due_at.get_or_insert_with(|| Instant::now() + WAIT_MAX);
    }

    /// All of them, and a success that is recorded now.
    pub(super) fn with(&self, attempt: &NewAttempt<'_>) -> Vec<NewSuccess> {
        let mut notes = self.notes.clone();
        notes.push(note(attempt, None));
        notes
    }

    pub(super) fn all(&self) -> &[NewSuccess] {
        &self.notes
    }

    /// They are noted, or may be: a note that is lost is better than one that is there twice.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Waits until they are to be noted. Never ends without notes.
    async fn due(&self) {
        match self.due_at {
            Some(due_at) => sleep_until(due_at).await,
            None => std::future::pending().await,
        }
    }
}

fn note(attempt: &NewAttempt<'_>, at: Option<DateTime<Utc>>) -> NewSuccess {
    NewSuccess {
        at,
        message: attempt.message.to_owned(),
        events: attempt.events,
        attempt: attempt.attempt,
        status: attempt.status,
        elapsed_ms: attempt.elapsed_ms,
        response: attempt.response.to_owned(),
    }
}

impl Deliverer {
    /// Posts a message. Notes that become due meanwhile are written: a receiver may take 15 s.
    pub(super) async fn post(&mut self, target: &WebhookTarget, message: &SignedMessage) -> Attempted {
        let now = self.services.node_lease.clock().now();
        let mut posted = pin!(target.client.post(message, now));
        loop {
            tokio::select! {
                biased;
                attempted = &mut posted => return attempted,
                () = self.notes.due() => {}
            }
            // The post goes on meanwhile, so that a Postgres that is slow does not look like a receiver that is.
            let mut written = pin!(self.write_notes());
            tokio::select! {
                biased;
                () = &mut written => {}
                attempted = &mut posted => {
                    written.await;
                    return attempted;
                }
            }
        }
    }

    /// Writes the notes that wait. If Postgres is out of reach, they wait for a second more.
    pub(super) async fn write_notes(&mut self) {
        if self.notes.all().is_empty() {
            return;
        }
        let error = match self.services.session().await {
            Ok(mut conn) => {
                let (notes, node) = (self.notes.all(), &self.services.node_name);
                match webhooks::note_successes(&mut conn, self.held.id, notes, node).await {
                    Err(error) if !error.is_lost_answer() => error,
                    Ok(()) | Err(_) => return self.notes.clear(),
                }
            }
            Err(error) => error,
        };
        tracing::debug!(%error, webhook = self.held.name, "successes of a webhook are not noted");
        self.notes.due_at = Some(Instant::now() + WAIT_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUCCESS: NewAttempt<'_> = NewAttempt {
        message: "msg_1",
        events: 1,
        attempt: 1,
        status: Some(200),
        error: None,
        elapsed_ms: 5,
        response: "",
        node_name: "n",
    };

    #[tokio::test(start_paused = true)]
    async fn notes_wait_for_a_second_or_until_there_are_twenty() {
        let mut notes = WaitingNotes::default();
        let begun = Instant::now();
        let mut together = Vec::new();
        for _ in 0..100 {
            if notes.has_room() {
                notes.add(&SUCCESS, DateTime::UNIX_EPOCH);
            } else {
                together.push(notes.with(&SUCCESS).len());
                notes.clear();
            }
        }
        assert_eq!(together, [TOGETHER_MAX; 5]);
        notes.add(&SUCCESS, DateTime::UNIX_EPOCH);
        tokio::time::advance(WAIT_MAX / 2).await;
        notes.add(&SUCCESS, DateTime::UNIX_EPOCH);
        assert!(notes.has_room());
        notes.due().await;
        assert_eq!(begun.elapsed(), WAIT_MAX, "the first note decides");
        assert!(!notes.has_room());
        let all = notes.with(&SUCCESS);
        let times: Vec<_> = all.iter().map(|note| note.at.is_some()).collect();
        assert_eq!(times, [true, true, false], "the last success is recorded by the statement that notes it");
    }
}
