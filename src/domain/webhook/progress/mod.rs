//! How a webhook goes on after each attempt: a pure state machine without I/O and clock.
//!
//! A failed message is sent again after growing waits. After [`BATCH_REFUSALS`] refusing answers in a row only its first event
//! is sent, because one event that the receiver can't take must not block the others. After [`FIRST_FAILURES`] failures of
//! that event, the event after it is sent once. If the receiver takes that one, the event before is set aside and delivery
//! goes on. If not, the receiver counts as down: nothing is set aside, and each later failure tries one event further on.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::attempt_outcome::WebhookOutcome;

/// Refusing answers in a row after which a message is cut to its first event.
const BATCH_REFUSALS: u32 = 4;
/// Failures of that event after which the next event is tried.
const FIRST_FAILURES: u32 = 4;
/// How far ahead an event is tried at most.
const AHEAD_MAX: u32 = 100;
/// Failures in a row from which on a webhook is `failing`.
pub const FAILING_FAILURES: u32 = 3;
/// Waits are longer or shorter by up to this part, so that webhooks don't go on together.
const JITTER: f64 = 0.2;

/// When failed messages are repeated, and when a webhook is given up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebhookRetryPolicy {
    /// Waits between attempts, not empty. The last one repeats.
    pub retry_after: Vec<Duration>,
    /// A webhook that fails for this long is disabled.
    pub disable_after: Duration,
}

/// The events of the next message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MessageFocus {
    /// As many events as a message may have.
    Batch,
    /// The first event that waits, alone.
    First,
    /// The event so many places after the first one, alone and once.
    Ahead(u32),
}

/// How the delivery of a webhook stands. All of it is stored with the webhook.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WebhookProgress {
    /// The events of the next message.
    pub focus: MessageFocus,
    /// Failed attempts since the last success.
    pub failures: u32,
    /// Failed attempts since the back-off began.
    pub step: u32,
    /// With [`MessageFocus::Batch`]: refusing answers in a row.
    pub refusals: u32,
    /// How far ahead events were tried since the last success.
    pub probed: u32,
    /// The first failure after the last success.
    pub failing_since: Option<DateTime<Utc>>,
}

/// What an attempt changes in the log's position of the webhook.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Movement {
    /// The same events wait as before.
    None,
    /// The events of the message are delivered.
    PastMessage,
    /// The event of the message is delivered, and the `count` events before it are set aside.
    PastSetAside {
        /// How many events were passed over.
        count: u32,
    },
}

/// A change of state that operators are told of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WebhookChange {
    /// The third failure in a row.
    Failing,
    /// A success after that.
    Recovered,
    /// It has failed for too long, or the receiver answered 410.
    Disabled,
}

/// What follows from an attempt.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct NextStep {
    /// How the delivery stands now.
    pub progress: WebhookProgress,
    /// What is delivered or set aside.
    pub movement: Movement,
    /// The change of state, if there is one.
    pub change: Option<WebhookChange>,
    /// The wait before the next attempt.
    pub wait: Duration,
}

impl Default for WebhookRetryPolicy {
    /// Waits up to 15 min, so that a receiver which is back has not long to wait; disabled after 5 days.
    fn default() -> Self {
        let retry_after = [5, 30, 120, 300, 900].map(Duration::from_secs).to_vec();
        Self { retry_after, disable_after: Duration::from_secs(5 * 86_400) }
    }
}

impl Default for WebhookProgress {
    /// After a success.
    fn default() -> Self {
        Self { focus: MessageFocus::Batch, failures: 0, step: 0, refusals: 0, probed: 0, failing_since: None }
    }
}

impl WebhookProgress {
    /// Is the webhook `failing`?
    pub fn is_failing(&self) -> bool {
        self.failures >= FAILING_FAILURES
    }

    /// What follows from an attempt that ended at `now`. `asked` is the wait that the answer asks for; `random` is from 0 to 1.
    pub fn after(
        self,
        outcome: WebhookOutcome,
        now: DateTime<Utc>,
        asked: Option<Duration>,
        policy: &WebhookRetryPolicy,
        random: f64,
    ) -> NextStep {
        if outcome == WebhookOutcome::Delivered {
            return self.after_success();
        }
        let since = self.failing_since.unwrap_or(now);
        let failed = Self { failures: self.failures.saturating_add(1), failing_since: Some(since), ..self };
        let has_failed_too_long = (now - since).to_std().is_ok_and(|time| time >= policy.disable_after);
        if outcome == WebhookOutcome::Gone || has_failed_too_long {
            let change = Some(WebhookChange::Disabled);
            return NextStep { progress: failed, movement: Movement::None, change, wait: Duration::ZERO };
        }
        let progress = failed.refocused(outcome);
        let back_off = match progress.focus {
            // The event after the first one is tried at once: if the receiver takes it, the first one was at fault.
            MessageFocus::Ahead(_) => Duration::ZERO,
            MessageFocus::Batch | MessageFocus::First => policy.wait(progress.step, random),
        };
        let change = (progress.failures == FAILING_FAILURES).then_some(WebhookChange::Failing);
        let wait = back_off.max(asked.unwrap_or_default());
        NextStep { progress, movement: Movement::None, change, wait }
    }

    /// There is no event so far ahead as the focus says: the first event is sent again after the wait.
    pub fn without_event_ahead(self, policy: &WebhookRetryPolicy, random: f64) -> (Self, Duration) {
        (Self { focus: MessageFocus::First, ..self }, policy.wait(self.step, random))
    }

    fn after_success(self) -> NextStep {
        let movement = match self.focus {
            MessageFocus::Batch | MessageFocus::First => Movement::PastMessage,
            MessageFocus::Ahead(count) => Movement::PastSetAside { count },
        };
        let change = self.is_failing().then_some(WebhookChange::Recovered);
        NextStep { progress: Self::default(), movement, change, wait: Duration::ZERO }
    }

    /// The focus after a failure that is counted already.
    fn refocused(self, outcome: WebhookOutcome) -> Self {
        match self.focus {
            MessageFocus::Batch => {
                let refusals = if outcome.is_refusing_answer() { self.refusals + 1 } else { 0 };
                match refusals >= BATCH_REFUSALS {
                    // The back-off begins anew.
                    true => Self { focus: MessageFocus::First, refusals: 0, step: 1, ..self },
                    false => Self { refusals, step: self.step.saturating_add(1), ..self },
                }
            }
            // `refusals` counts the failures of this event up to the first probe.
            MessageFocus::First => {
                let (refusals, step) = (self.refusals.saturating_add(1), self.step.saturating_add(1));
                let focus = match refusals >= FIRST_FAILURES && self.probed < AHEAD_MAX {
                    true => MessageFocus::Ahead(self.probed + 1),
                    false => MessageFocus::First,
                };
                Self { focus, refusals, step, ..self }
            }
            MessageFocus::Ahead(place) => Self { focus: MessageFocus::First, probed: place, ..self },
        }
    }
}

impl WebhookRetryPolicy {
    /// The wait after so many failures, with jitter. `random` is from 0 to 1.
    fn wait(&self, failures: u32, random: f64) -> Duration {
        let last = self.retry_after.len().saturating_sub(1);
        let place = usize::try_from(failures.saturating_sub(1)).unwrap_or(last).min(last);
        let wait = self.retry_after.get(place).copied().unwrap_or_default();
        wait.mul_f64(1.0 - JITTER + 2.0 * JITTER * random)
    }
}

#[cfg(test)]
mod tests;
