//! The opened jobs, and when the outcomes of each are written.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Event;
use super::pending_job::{EndedDevice, PendingJob};
use crate::queue::lane_intake::LeasedJob;
use crate::queue::leases::JobLease;

/// A job that ended waits this long for others to share its statement.
const SHARE_TIME: Duration = Duration::from_millis(5);
/// With this many ended jobs, most of a statement's cost is the statement itself: they wait longer for more.
const BUSY_JOBS: usize = 16;
/// The wait of ended jobs, counted from the first one, while there are [`BUSY_JOBS`] or more.
const SHARE_TIME_BUSY: Duration = Duration::from_millis(20);
/// With this many ended jobs they are written at once.
const ENDED_JOBS_MAX: usize = 256;
/// Greatest age of an unrecorded outcome of a job that has not ended.
const AGE_MAX: Duration = Duration::from_millis(250);
/// This many outcomes of a job that has not ended are written after [`REST_TIME`].
const MANY_OUTCOMES: usize = 100;
/// Many outcomes wait this long for the rest of their job. Under load the job ends within this time, and is one receipt
/// instead of three.
const REST_TIME: Duration = Duration::from_millis(50);
/// A job that can't be stored is tried again after this long.
const SET_ASIDE_TIME: Duration = Duration::from_secs(10);
/// Most devices of one statement.
const DEVICES_MAX: usize = 20_000;

/// The opened jobs, and two queues of those with something to write.
#[derive(Debug, Default)]
pub(super) struct FlushSchedule {
    pub(super) jobs: HashMap<JobLease, PendingJob>,
    /// Ended jobs, with the time at which they may be written.
    ended: VecDeque<(Instant, JobLease)>,
    /// Jobs that go on, with the time at which their outcomes are written.
    timed: BinaryHeap<Reverse<(Instant, JobLease)>>,
}

impl FlushSchedule {
    /// Takes in events. Returns how many ended devices need no record.
    pub(super) fn take_in(&mut self, events: impl Iterator<Item = Event>) -> usize {
        let mut unrecordable = 0;
        for event in events {
            match event {
                Event::Opened(leased_job) => self.open_job(leased_job),
                Event::Ended(lease, ended) => unrecordable += usize::from(!self.end_device(lease, ended)),
            }
        }
        unrecordable
    }

    fn open_job(&mut self, leased_job: Arc<LeasedJob>) {
        let lease = leased_job.lease();
        let job = PendingJob::new(leased_job);
        let has_ended = job.has_ended();
        self.jobs.insert(lease, job);
        if has_ended {
            self.ended.push_back((Instant::now(), lease));
        }
    }

    /// Ends a device. Returns whether there is something to record.
    fn end_device(&mut self, lease: JobLease, ended: EndedDevice) -> bool {
        let Some(job) = self.jobs.get_mut(&lease) else { return false };
        let to_record = job.end_device(ended);
        let now = Instant::now();
        if job.has_ended() {
            if !job.is_queued {
                job.is_queued = true;
                self.ended.push_back((now + SHARE_TIME, lease));
            }
        } else if to_record && job.unrecorded.len() == 1 {
            self.timed.push(Reverse((now + AGE_MAX, lease)));
        } else if to_record && job.unrecorded.len() == MANY_OUTCOMES {
            self.timed.push(Reverse((now + REST_TIME, lease)));
        }
        to_record
    }

    /// When something is due next. None: nothing waits.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let timed = self.timed.peek().map(|Reverse((at, _))| *at);
        self.ended_due(Instant::now()).into_iter().chain(timed).min()
    }

    /// When the ended jobs are due, all together.
    fn ended_due(&self, now: Instant) -> Option<Instant> {
        let (first, _) = *self.ended.front()?;
        Some(match self.ended.len() {
            ..BUSY_JOBS => first,
            BUSY_JOBS..ENDED_JOBS_MAX => first + (SHARE_TIME_BUSY - SHARE_TIME),
            ENDED_JOBS_MAX.. => now,
        })
    }

    /// Takes the jobs to write now, ascending by job, as many as one statement takes.
    pub(super) fn take_due(&mut self) -> Vec<JobLease> {
        let now = Instant::now();
        let mut due = Vec::new();
        let mut devices = 0;
        let ended_are_due = self.ended_due(now).is_some_and(|at| at <= now);
        while devices < DEVICES_MAX && due.len() < 2 * ENDED_JOBS_MAX {
            let is_ended = ended_are_due && !self.ended.is_empty();
            let next = if is_ended {
                self.ended.pop_front()
            } else if self.timed.peek().is_some_and(|Reverse((at, _))| *at <= now) {
                self.timed.pop().map(|Reverse(entry)| entry)
            } else {
                None
            };
            let Some((_, lease)) = next else { break };
            if let Some(job) = self.jobs.get_mut(&lease) {
                job.is_queued &= !is_ended;
                if job.has_ended() || !job.unrecorded.is_empty() {
                    devices += job.unrecorded.len();
                    due.push(lease);
                }
            }
        }
        due.sort_unstable();
        due.dedup();
        due
    }

    /// Sets a job aside that can't be stored now: it is due again after [`SET_ASIDE_TIME`].
    pub(super) fn set_aside(&mut self, lease: JobLease) {
        self.timed.push(Reverse((Instant::now() + SET_ASIDE_TIME, lease)));
    }

    /// Puts jobs back of which nothing was written: they are due again at once.
    pub(super) fn put_back(&mut self, leases: &[JobLease]) {
        let now = Instant::now();
        for lease in leases {
            if let Some(job) = self.jobs.get_mut(lease) {
                job.is_queued = true;
                self.ended.push_back((now, *lease));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use tokio::time::advance;

    use super::*;
    use crate::domain::{
        Class, DeliveryStatus, DeviceId, Job, JobId, LaneId, NodeId, NotificationId, Priority,
    };
    use crate::queue::recorder::Disposition;

    fn leased_job(number: i64) -> Arc<LeasedJob> {
        let job = Job {
            id: JobId(number),
            notification: NotificationId::floor(DateTime::UNIX_EPOCH),
            lane: LaneId(1),
            priority: Priority::Normal,
            class: Class::Direct,
            version: 0,
            attempt: 1,
            unanswered: 0,
            in_doubt: false,
            node_deaths: 0,
            due_at: DateTime::UNIX_EPOCH,
            expires_at: DateTime::UNIX_EPOCH,
            last_reason: None,
            environment_probe_since: None,
            trace: None,
            devices: vec![DeviceId(number)],
            done: None,
        };
        Arc::new(LeasedJob::new(job, NodeId(1), None))
    }

    /// Jobs of one device each that have just ended.
    fn end(schedule: &mut FlushSchedule, numbers: std::ops::Range<i64>) {
        for leased_job in numbers.map(leased_job) {
            let (status, began) = (DeliveryStatus::Accepted, Instant::now());
            let disposition = Disposition::Final { status, attempted: true, reason: None, provider_id: None };
            let ended = EndedDevice { index: 0, disposition, began, finding: None, is_in_doubt: false };
            let ended = Event::Ended(leased_job.lease(), ended);
            schedule.take_in([Event::Opened(leased_job), ended].into_iter());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn ended_jobs_wait_a_little_for_others_to_share_a_statement() {
        let mut schedule = FlushSchedule::default();
        end(&mut schedule, 0..2);
        assert_eq!(schedule.take_due(), [], "others may come");
        advance(SHARE_TIME / 2).await;
        end(&mut schedule, 2..3);
        advance(SHARE_TIME / 2).await;
        assert!(schedule.next_due() <= Some(Instant::now()));
        assert_eq!(schedule.take_due().len(), 3, "the last one too");
        assert_eq!(schedule.next_due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn many_ended_jobs_wait_longer_for_more() {
        let mut schedule = FlushSchedule::default();
        end(&mut schedule, 0..BUSY_JOBS as i64);
        advance(SHARE_TIME).await;
        assert_eq!(schedule.take_due(), []);
        advance(SHARE_TIME_BUSY - SHARE_TIME).await;
        assert!(schedule.next_due() <= Some(Instant::now()));
        assert_eq!(schedule.take_due().len(), BUSY_JOBS);
    }

    #[tokio::test]
    async fn a_full_statement_is_due_at_once() {
        let mut schedule = FlushSchedule::default();
        end(&mut schedule, 0..ENDED_JOBS_MAX as i64);
        assert!(schedule.next_due() <= Some(Instant::now()));
        assert_eq!(schedule.take_due().len(), ENDED_JOBS_MAX);
    }
}
