//! The duties that delete what has been kept long enough: contents, devices, topics, idempotency keys, clean-up runs,
//! partitions, states of lanes and days of the event log. Each goes in steps. A step is a short transaction, so no lock is held for long and no
//! other duty is delayed.

use std::time::Duration;

use tokio::time::Instant;

use super::contents::{self, Contents};
use super::empty_topics::EmptyTopics;
use super::erasures;
use super::event_log;
use super::idempotency_keys;
use super::lane_changes;
use super::lane_minutes;
use super::old_cleanup_runs;
use super::old_partitions::OldPartitions;
use super::quarantined_devices;
use super::schedule::Schedule;
use super::send_only_devices::SendOnlyDevices;
use super::{HOUR, Settings, session};
use crate::store;
use crate::store::Session;

/// How long data is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retention {
    /// The notifications of a day with their deliveries, after the last of them has ended.
    pub notifications: Duration,
    /// The content of a notification, after the notification is done.
    pub content: Duration,
    /// A quarantined device, after it was quarantined.
    pub quarantine: Duration,
    /// A day of the event log, after it is over. Zero: no events are written.
    pub events: Duration,
}

/// A duty stops its steps of one round after this time, because the round has other duties.
const ROUND_TIME_MAX: Duration = Duration::from_millis(50);
/// Empty topics are few, but count towards `limits.topics` until they are deleted.
const TOPICS_PERIOD: Duration = Duration::from_secs(600);

/// The duties, each with its position in its present pass.
#[derive(Debug)]
pub(super) struct RetentionDuties {
    contents: Contents,
    send_only_devices: SendOnlyDevices,
    empty_topics: EmptyTopics,
    old_partitions: OldPartitions,
    /// In the order of [`RetentionDuties::ALL`].
    schedules: [Schedule; Self::ALL.len()],
}

#[derive(Clone, Copy, Debug)]
enum RetentionDuty {
    Contents,
    QuarantinedDevices,
    SendOnlyDevices,
    EmptyTopics,
    IdempotencyKeys,
    OldCleanupRuns,
    Erasures,
    OldPartitions,
    LaneChanges,
    LaneMinutes,
    EventLog,
}

impl RetentionDuties {
    const ALL: [RetentionDuty; 11] = [
        RetentionDuty::Contents,
        RetentionDuty::QuarantinedDevices,
        RetentionDuty::SendOnlyDevices,
        RetentionDuty::EmptyTopics,
        RetentionDuty::IdempotencyKeys,
        RetentionDuty::OldCleanupRuns,
        RetentionDuty::Erasures,
        RetentionDuty::OldPartitions,
        RetentionDuty::LaneChanges,
        RetentionDuty::LaneMinutes,
        RetentionDuty::EventLog,
    ];

    pub(super) fn new(now: Instant) -> Self {
        Self {
            contents: Contents::default(),
            send_only_devices: SendOnlyDevices::new(),
            empty_topics: EmptyTopics::default(),
            old_partitions: OldPartitions::default(),
            schedules: [Schedule::new(now); Self::ALL.len()],
        }
    }

    /// Performs the steps that are due. A pass that is not complete continues in the next round.
    ///
    /// # Errors
    /// The name of the duty that failed. It is paused, and the other duties run in the next round.
    pub(super) async fn round(
        &mut self,
        settings: &Settings,
        conn: &mut Option<Session>,
    ) -> Result<(), (&'static str, store::Error)> {
        let retention = &settings.retention;
        for (position, duty) in Self::ALL.into_iter().enumerate() {
            let start = Instant::now();
            while self.schedules[position].is_due(start) && start.elapsed() < ROUND_TIME_MAX {
                let stepped = match session(settings, conn).await {
                    Ok(conn) => self.step(conn, retention, duty).await,
                    Err(error) => Err(error),
                };
                match stepped {
                    Ok(true) => {}
                    Ok(false) => self.schedules[position].succeeded(start, duty.period(retention)),
                    Err(error) => {
                        self.schedules[position].failed(start);
                        return Err((duty.name(), error));
                    }
                }
            }
        }
        Ok(())
    }

    /// Performs one step. True: the pass is not complete.
    async fn step(
        &mut self,
        conn: &mut Session,
        retention: &Retention,
        duty: RetentionDuty,
    ) -> Result<bool, store::Error> {
        match duty {
            RetentionDuty::Contents => self.contents.step(conn, retention.content).await,
            RetentionDuty::QuarantinedDevices => quarantined_devices::step(conn, retention.quarantine).await,
            RetentionDuty::SendOnlyDevices => self.send_only_devices.step(conn).await,
            RetentionDuty::EmptyTopics => self.empty_topics.step(conn).await,
            RetentionDuty::IdempotencyKeys => idempotency_keys::step(conn).await,
            RetentionDuty::LaneChanges => lane_changes::step(conn).await,
            RetentionDuty::LaneMinutes => lane_minutes::step(conn).await,
            RetentionDuty::EventLog => event_log::step(conn, retention.events).await,
            RetentionDuty::OldCleanupRuns => old_cleanup_runs::step(conn, retention.quarantine).await,
            RetentionDuty::Erasures => erasures::step(conn).await,
            RetentionDuty::OldPartitions => self.old_partitions.step(conn, retention.notifications).await,
        }
    }
}

impl RetentionDuty {
    /// The name in the log.
    fn name(self) -> &'static str {
        match self {
            Self::Contents => "contents",
            Self::QuarantinedDevices => "quarantined devices",
            Self::SendOnlyDevices => "send-only devices",
            Self::EmptyTopics => "topics",
            Self::IdempotencyKeys => "idempotency keys",
            Self::OldCleanupRuns => "old clean-up runs",
            Self::Erasures => "erasures",
            Self::OldPartitions => "old partitions",
            Self::LaneChanges => "lane changes",
            Self::LaneMinutes => "lane minutes",
            Self::EventLog => "event log",
        }
    }

    /// The time from the end of a pass to the next pass. It is shorter for a short retention.
    fn period(self, retention: &Retention) -> Duration {
        match self {
            Self::Contents => contents::recheck_interval(retention.content),
            Self::QuarantinedDevices => contents::recheck_interval(retention.quarantine),
            Self::EmptyTopics => TOPICS_PERIOD,
            Self::IdempotencyKeys => idempotency_keys::PERIOD,
            Self::SendOnlyDevices
            | Self::OldCleanupRuns
            | Self::Erasures
            | Self::OldPartitions
            | Self::LaneChanges
            | Self::LaneMinutes
            | Self::EventLog => HOUR,
        }
    }
}
