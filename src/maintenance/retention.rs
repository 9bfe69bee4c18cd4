//! When what has been kept long enough goes: contents, devices, topics, days. Each duty goes in steps, each step a short
//! transaction, so that no lock is held for long and no other duty waits.

use std::time::Duration;

use tokio::time::Instant;

use super::contents::{self, Contents};
use super::days::OldDays;
use super::quarantined;
use super::send_only::SendOnly;
use super::topics::Topics;
use crate::store;
use crate::store::Session;

/// How long things are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// A day of notifications with what became of them, after the last of them has ended.
    pub notifications: Duration,
    /// Contents, after the notification is done.
    pub content: Duration,
    /// Quarantined devices.
    pub quarantine: Duration,
}

/// A duty ends its steps of one round after this long: the round has other duties too.
const BUDGET: Duration = Duration::from_millis(50);
const HOURLY: Duration = Duration::from_secs(3600);
/// Topics that are left are few, and count towards `limits.topics` until they go.
const TOPICS: Duration = Duration::from_secs(600);

/// The duties, with how far each has come.
#[derive(Debug)]
pub(super) struct Duties {
    contents: Contents,
    send_only: SendOnly,
    topics: Topics,
    days: OldDays,
    /// When each is due, in the order of [`Duties::DUTIES`].
    due: [Instant; 5],
}

#[derive(Clone, Copy, Debug)]
enum Duty {
    Contents,
    Quarantined,
    SendOnly,
    Topics,
    Days,
}

impl Duties {
    const DUTIES: [Duty; 5] = [Duty::Contents, Duty::Quarantined, Duty::SendOnly, Duty::Topics, Duty::Days];

    pub(super) fn new(now: Instant) -> Self {
        Self {
            contents: Contents::default(),
            send_only: SendOnly::new(),
            topics: Topics::default(),
            days: OldDays::default(),
            due: [now; 5],
        }
    }

    /// The steps that are due. A duty that is not at its end goes on in the next round.
    pub(super) async fn round(
        &mut self,
        conn: &mut Session,
        retention: &Retention,
    ) -> Result<(), store::Error> {
        for (position, duty) in Self::DUTIES.into_iter().enumerate() {
            let start = Instant::now();
            while self.due[position] <= start && start.elapsed() < BUDGET {
                if !self.step(conn, retention, duty).await? {
                    self.due[position] = start + period(duty, retention);
                }
            }
        }
        Ok(())
    }

    async fn step(
        &mut self,
        conn: &mut Session,
        retention: &Retention,
        duty: Duty,
    ) -> Result<bool, store::Error> {
        match duty {
            Duty::Contents => self.contents.step(conn, retention.content).await,
            Duty::Quarantined => quarantined::step(conn, retention.quarantine).await,
            Duty::SendOnly => self.send_only.step(conn).await,
            Duty::Topics => self.topics.step(conn).await,
            Duty::Days => self.days.step(conn, retention.notifications).await,
        }
    }
}

/// From the end of a pass to the next one: short retentions are looked after more often.
fn period(duty: Duty, retention: &Retention) -> Duration {
    match duty {
        Duty::Contents => contents::look_interval(retention.content),
        Duty::Quarantined => contents::look_interval(retention.quarantine),
        Duty::Topics => TOPICS,
        Duty::SendOnly | Duty::Days => HOURLY,
    }
}
