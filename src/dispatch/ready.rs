//! Devices whose tokens are loaded, in the order in which they are to be sent.
//!
//! Priorities are strict, and within one direct jobs go first; but retries and broadcasts each get a tenth of the
//! permits while they wait (QUEUE.md 14). Room is counted per class and priority, so read-ahead of one never blocks
//! another.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::load::Plan;
use crate::domain::{Class, DeviceToken, Priority};
use crate::queue::intake::Intake;
use crate::queue::recorder::Ticket;

/// One device, ready to be sent.
#[derive(Debug)]
pub(super) struct Ready {
    /// Its place in its job.
    pub(super) ticket: Ticket,
    /// Where to.
    pub(super) token: DeviceToken,
    /// What.
    pub(super) plan: Arc<Plan>,
    /// It takes up room that the intake gave; gives it back when it leaves.
    pub(super) handed: bool,
}

/// The queue of one lane.
#[derive(Debug)]
pub(super) struct ReadyQueue {
    inner: Mutex<Inner>,
    some: Notify,
    intake: Arc<Intake>,
    /// Read-ahead per class and priority, in devices.
    cap: usize,
}

#[derive(Debug, Default)]
struct Inner {
    cells: [[VecDeque<Ready>; 3]; 3],
    len: usize,
    turn: u8,
}

impl ReadyQueue {
    pub(super) fn new(intake: Arc<Intake>, cap: usize) -> Self {
        Self { inner: Mutex::default(), some: Notify::new(), intake, cap }
    }

    /// How many more devices of this range may be read ahead.
    pub(super) fn room(&self, class: Class, priority: Priority) -> usize {
        self.cap.saturating_sub(self.lock().cells[row(class)][priority.rank()].len())
    }

    /// Nothing in it?
    pub(super) fn is_empty(&self) -> bool {
        self.lock().len == 0
    }

    pub(super) fn push(&self, ready: impl IntoIterator<Item = Ready>) {
        let mut inner = self.lock();
        for ready in ready {
            let job = &ready.ticket.held().job;
            let (class, rank) = (row(job.class), job.priority.rank());
            inner.cells[class][rank].push_back(ready);
            inner.len += 1;
        }
        drop(inner);
        self.some.notify_one();
    }

    /// The most urgent device, when there is one.
    pub(super) async fn pop(&self) -> Ready {
        loop {
            if let Some(ready) = self.try_pop() {
                return ready;
            }
            self.some.notified().await;
        }
    }

    fn try_pop(&self) -> Option<Ready> {
        let mut inner = self.lock();
        let (class, rank) = inner.choose()?;
        let ready = inner.cells[class][rank].pop_front()?;
        inner.len -= 1;
        let left = inner.cells[class][rank].len();
        drop(inner);
        if ready.handed {
            self.intake.free(1);
        }
        // The feeder reads on when half of the read-ahead is gone, not after every device.
        if left == self.cap / 2 || left == 0 {
            self.intake.nudge();
        }
        Some(ready)
    }

    /// Drops everything: each device stays in its job, which is given back.
    pub(super) fn clear(&self) {
        let dropped = std::mem::take(&mut *self.lock());
        let handed = dropped.cells.iter().flatten().flatten().filter(|ready| ready.handed).count();
        self.intake.free(handed);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Which cell is next.
    fn choose(&mut self) -> Option<(usize, usize)> {
        if self.len == 0 {
            return None;
        }
        self.turn = (self.turn + 1) % 10;
        let reserved = match self.turn {
            0 => Some(row(Class::Retry)),
            5 => Some(row(Class::Bulk)),
            _ => None,
        };
        let in_reserve = reserved.and_then(|class| self.first_of(&[class]));
        in_reserve.or_else(|| self.first_of(&[row(Class::Direct), row(Class::Retry), row(Class::Bulk)]))
    }

    fn first_of(&self, classes: &[usize]) -> Option<(usize, usize)> {
        let ranks = 0..Priority::DESCENDING.len();
        ranks
            .flat_map(|rank| classes.iter().map(move |class| (*class, rank)))
            .find(|(class, rank)| !self.cells[*class][*rank].is_empty())
    }
}

fn row(class: Class) -> usize {
    usize::from(class.code().cast_unsigned())
}
