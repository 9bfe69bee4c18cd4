//! The jobs in hand and the order in which they are to be flushed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Event;
use super::pending_job::{Ended, PendingJob};
use crate::queue::lane_intake::LeasedJob;
use crate::queue::leases::JobLease;

/// What ended waits so long for others to share its statement.
const SHARE: Duration = Duration::from_millis(5);
/// Where so many do within that time, most of a statement's cost is the statement: they wait for more.
const BUSY: usize = 16;
const SHARE_BUSY: Duration = Duration::from_millis(20);
/// An outcome of a job that goes on is at most so old when it is flushed.
const OLDEST: Duration = Duration::from_millis(250);
/// What can't be stored at all is tried again after so long.
const ASIDE: Duration = Duration::from_secs(10);
/// So many outcomes of one job are flushed soon.
const MANY: usize = 100;
/// They wait so long for the rest of their job: under load it ends within that time, and is one receipt instead of three.
const REST: Duration = Duration::from_millis(50);
/// So many jobs are flushed at once.
const CROWD: usize = 256;
/// Most devices of one statement.
const MOST_DEVICES: usize = 20_000;

/// Every job in hand.
#[derive(Debug, Default)]
pub(super) struct FlushSchedule {
    pub(super) open: HashMap<JobLease, PendingJob>,
    soon: VecDeque<(Instant, JobLease)>,
    later: BinaryHeap<Reverse<(Instant, JobLease)>>,
}

impl FlushSchedule {
    /// Takes in what was reported. Returns how many endings change nothing that must be recorded.
    pub(super) fn apply(&mut self, events: impl Iterator<Item = Event>) -> usize {
        let mut unrecordable = 0;
        for event in events {
            match event {
                Event::Open(held) => self.open_job(held),
                Event::Ended { lease, index, ending, began, finding } => {
                    let to_record = self.end(lease, Ended { index, ending, began, finding });
                    unrecordable += usize::from(!to_record);
                }
            }
        }
        unrecordable
    }

    fn open_job(&mut self, held: Arc<LeasedJob>) {
        let id = held.lease();
        let job = PendingJob::new(held);
        let over = job.is_over();
        self.open.insert(id, job);
        if over {
            self.soon.push_back((Instant::now(), id));
        }
    }

    /// Says whether there is something to record.
    fn end(&mut self, id: JobLease, ended: Ended) -> bool {
        let Some(job) = self.open.get_mut(&id) else { return false };
        let to_record = job.end(ended);
        let now = Instant::now();
        if job.is_over() {
            if !job.queued {
                job.queued = true;
                self.soon.push_back((now + SHARE, id));
            }
        } else if to_record && job.waiting.len() == 1 {
            self.later.push(Reverse((now + OLDEST, id)));
        } else if to_record && job.waiting.len() == MANY {
            self.later.push(Reverse((now + REST, id)));
        }
        to_record
    }

    /// When something is due next; none: nothing waits.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let later = self.later.peek().map(|Reverse((at, _))| *at);
        self.soon_due(Instant::now()).into_iter().chain(later).min()
    }

    /// When those that ended are due, all together.
    fn soon_due(&self, now: Instant) -> Option<Instant> {
        let (first, _) = *self.soon.front()?;
        Some(match self.soon.len() {
            ..BUSY => first,
            BUSY..CROWD => first + (SHARE_BUSY - SHARE),
            CROWD.. => now,
        })
    }

    /// The jobs to flush now, ascending by job, as many as one statement takes.
    pub(super) fn take_due(&mut self) -> Vec<JobLease> {
        let now = Instant::now();
        let mut due = Vec::new();
        let mut devices = 0;
        let together = self.soon_due(now).is_some_and(|at| at <= now);
        while devices < MOST_DEVICES && due.len() < 2 * CROWD {
            let soon = together && !self.soon.is_empty();
            let next = if soon {
                self.soon.pop_front()
            } else if self.later.peek().is_some_and(|Reverse((at, _))| *at <= now) {
                self.later.pop().map(|Reverse(entry)| entry)
            } else {
                None
            };
            let Some((_, id)) = next else { break };
            if let Some(job) = self.open.get_mut(&id) {
                job.queued &= !soon;
                if job.is_over() || !job.waiting.is_empty() {
                    devices += job.waiting.len();
                    due.push(id);
                }
            }
        }
        due.sort_unstable();
        due.dedup();
        due
    }

    /// This one can't be written now: it comes again in a while.
    pub(super) fn put_aside(&mut self, id: JobLease) {
        self.later.push(Reverse((Instant::now() + ASIDE, id)));
    }

    /// These are to be flushed again, after a pause: nothing of them was written.
    pub(super) fn put_back(&mut self, ids: &[JobLease]) {
        let now = Instant::now();
        for id in ids {
            if let Some(job) = self.open.get_mut(id) {
                job.queued = true;
                self.soon.push_back((now, *id));
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

    fn held(number: i64) -> Arc<LeasedJob> {
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
            devices: vec![DeviceId(number)],
            done: None,
        };
        Arc::new(LeasedJob { job, node: NodeId(1), known: None })
    }

    /// Jobs of one device each that have just ended.
    fn end(schedule: &mut FlushSchedule, numbers: std::ops::Range<i64>) {
        for held in numbers.map(held) {
            let (status, began) = (DeliveryStatus::Accepted, Instant::now());
            let ending = Disposition::Final { status, attempted: true, reason: None, provider_id: None };
            let lease = held.lease();
            let ended = Event::Ended { lease, index: 0, ending, began, finding: None };
            schedule.apply([Event::Open(held), ended].into_iter());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_ended_waits_a_little_for_others_that_go_with_it() {
        let mut schedule = FlushSchedule::default();
        end(&mut schedule, 0..2);
        assert_eq!(schedule.take_due(), [], "others may come");
        advance(SHARE / 2).await;
        end(&mut schedule, 2..3);
        advance(SHARE / 2).await;
        assert!(schedule.next_due() <= Some(Instant::now()));
        assert_eq!(schedule.take_due().len(), 3, "the last one too");
        assert_eq!(schedule.next_due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn where_many_end_at_once_they_wait_for_more() {
        let mut schedule = FlushSchedule::default();
        end(&mut schedule, 0..BUSY as i64);
        advance(SHARE).await;
        assert_eq!(schedule.take_due(), []);
        advance(SHARE_BUSY - SHARE).await;
        assert!(schedule.next_due() <= Some(Instant::now()));
        assert_eq!(schedule.take_due().len(), BUSY);
    }

    #[tokio::test]
    async fn a_crowd_waits_for_nobody() {
        let mut schedule = FlushSchedule::default();
        end(&mut schedule, 0..CROWD as i64);
        assert!(schedule.next_due() <= Some(Instant::now()));
        assert_eq!(schedule.take_due().len(), CROWD);
    }
}
