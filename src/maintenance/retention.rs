//! When what has been kept long enough goes: contents, devices, topics, days. Each duty goes in steps, each step a short
//! transaction, so that no lock is held for long and no other duty waits.

use std::time::Duration;

use tokio::time::Instant;

use super::contents::{self, Contents};
use super::days::OldDays;
use super::quarantined;
use super::schedule::Schedule;
use super::send_only::SendOnly;
use super::topics::Topics;
use super::{Settings, session};
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
    schedules: [Schedule; 5],
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
            schedules: [Schedule::new(now); 5],
        }
    }

    /// The steps that are due. A duty that is not at its end goes on in the next round.
    ///
    /// # Errors
    /// The duty that failed, by its name. It waits; the others are done in the next round.
    pub(super) async fn round(
        &mut self,
        settings: &Settings,
        conn: &mut Option<Session>,
    ) -> Result<(), (&'static str, store::Error)> {
        let retention = &settings.retention;
        for (position, duty) in Self::DUTIES.into_iter().enumerate() {
            let start = Instant::now();
            while self.schedules[position].is_due(start) && start.elapsed() < BUDGET {
                let stepped = match session(settings, conn).await {
                    Ok(conn) => self.step(conn, retention, duty).await,
                    Err(error) => Err(error),
                };
                match stepped {
                    Ok(true) => {}
                    Ok(false) => self.schedules[position].done(start, period(duty, retention)),
                    Err(error) => {
                        self.schedules[position].failed(start);
                        return Err((duty.name(), error));
                    }
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

impl Duty {
    fn name(self) -> &'static str {
        match self {
            Self::Contents => "contents",
            Self::Quarantined => "quarantined devices",
            Self::SendOnly => "send-only devices",
            Self::Topics => "topics",
            Self::Days => "old partitions",
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
