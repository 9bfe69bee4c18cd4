//! Devices with their tokens, in the order in which they are to be sent.
//!
//! Priorities are strict, and within one direct jobs go first; but every tenth device is a retry and every tenth one is of
//! a broadcast, while there are such devices (docs/queue.md#claim). Room is counted per class and priority, so devices of
//! one range never block those of another.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::dispatch::ready_device::ReadyDevice;
use crate::domain::{Class, Priority};
use crate::queue::lane_intake::LaneIntake;

/// What the queue asks of an item.
pub(in crate::dispatch) trait Queued {
    /// Its class and priority.
    fn range(&self) -> (Class, Priority);
    /// True: it takes up room of the intake until it leaves the queue.
    fn handed(&self) -> bool;
    /// When the database was last asked about it.
    fn loaded(&self) -> Instant;
}

/// The queue of one lane.
#[derive(Debug)]
pub(in crate::dispatch) struct ReadyQueue<T = ReadyDevice> {
    inner: Mutex<Inner<T>>,
    /// As in `inner`, to be read without the lock. A reader may be a moment behind.
    len: AtomicUsize,
    pushed: Notify,
    intake: Arc<LaneIntake>,
    /// Most devices per class and priority.
    devices_max: usize,
}

#[derive(Debug)]
struct Inner<T> {
    cells: [[VecDeque<T>; 3]; 3],
    len: usize,
    turn: u8,
    /// Nothing is sent any more.
    closed: bool,
}

impl Queued for ReadyDevice {
    fn range(&self) -> (Class, Priority) {
        let job = &self.ticket.leased_job().job;
        (job.class, job.priority)
    }

    fn handed(&self) -> bool {
        self.handed
    }

    fn loaded(&self) -> Instant {
        self.loaded_at
    }
}

impl<T> Default for Inner<T> {
    fn default() -> Self {
        Self { cells: Default::default(), len: 0, turn: 0, closed: false }
    }
}

impl<T: Queued> ReadyQueue<T> {
    pub(in crate::dispatch) fn new(intake: Arc<LaneIntake>, devices_max: usize) -> Self {
        Self { inner: Mutex::default(), len: AtomicUsize::new(0), pushed: Notify::new(), intake, devices_max }
    }

    /// How many more devices of this range may be loaded ahead.
    pub(in crate::dispatch) fn room(&self, class: Class, priority: Priority) -> usize {
        self.devices_max.saturating_sub(self.lock().cells[row(class)][priority.rank()].len())
    }

    /// Is there a device of this class?
    pub(in crate::dispatch) fn has_class(&self, class: Class) -> bool {
        self.lock().cells[row(class)].iter().any(|cell| !cell.is_empty())
    }

    pub(in crate::dispatch) fn is_empty(&self) -> bool {
        self.len.load(Ordering::Acquire) == 0
    }

    /// Devices that are ready. Takes no lock.
    pub(in crate::dispatch) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    pub(in crate::dispatch) fn push(&self, ready: impl IntoIterator<Item = T>) {
        let mut inner = self.lock();
        if inner.closed {
            drop(inner);
            return self.give_back(ready);
        }
        for ready in ready {
            let (class, priority) = ready.range();
            inner.cells[row(class)][priority.rank()].push_back(ready);
            inner.len += 1;
        }
        self.unlock(inner);
        self.pushed.notify_one();
    }

    /// Returns when devices were pushed since the last call returned. Only one task may wait.
    pub(in crate::dispatch) async fn pushed(&self) {
        self.pushed.notified().await;
    }

    /// The most urgent device, if there is one.
    pub(in crate::dispatch) fn try_pop(&self) -> Option<T> {
        let mut inner = self.lock();
        let (class, rank) = inner.choose()?;
        let ready = inner.cells[class][rank].pop_front()?;
        inner.len -= 1;
        let left = inner.cells[class][rank].len();
        self.unlock(inner);
        if ready.handed() {
            self.intake.free(1);
        }
        // The prefetcher goes on when half of the range is gone, not after every device.
        if left == self.devices_max / 2 || left == 0 {
            self.intake.wake();
        }
        Some(ready)
    }

    /// Drops everything: each device stays in its job, which is given back.
    pub(in crate::dispatch) fn clear(&self) {
        let mut inner = self.lock();
        inner.len = 0;
        let dropped = std::mem::take(&mut inner.cells);
        self.unlock(inner);
        self.give_back(dropped.into_iter().flatten().flatten());
    }

    /// Drops everything, and every device that comes later.
    pub(in crate::dispatch) fn close(&self) {
        self.lock().closed = true;
        self.clear();
    }

    /// Gives the room of handed-over devices back. Dropped, a device stays in its job.
    fn give_back(&self, ready: impl IntoIterator<Item = T>) {
        self.intake.free(ready.into_iter().filter(Queued::handed).count());
    }

    /// When the database was asked about the device that has waited longest; none: the queue is empty.
    pub(in crate::dispatch) fn oldest(&self) -> Option<Instant> {
        let inner = self.lock();
        // The first device of a cell is nearly the oldest: handed-over devices may have been read up to a second before.
        inner.cells.iter().flatten().filter_map(|cell| cell.front().map(Queued::loaded)).min()
    }

    /// Calls `show` with each device.
    pub(in crate::dispatch) fn for_each(&self, show: impl FnMut(&T)) {
        self.lock().cells.iter().flatten().flatten().for_each(show);
    }

    /// Takes out the devices that `judge` ends; the others keep their places.
    pub(in crate::dispatch) fn remove_ended<E>(
        &self,
        mut judge: impl FnMut(&mut T) -> Option<E>,
    ) -> Vec<(T, E)> {
        let mut inner = self.lock();
        let mut out = Vec::new();
        for cell in inner.cells.iter_mut().flatten() {
            for mut one in std::mem::take(cell) {
                match judge(&mut one) {
                    None => cell.push_back(one),
                    Some(ending) => out.push((one, ending)),
                }
            }
        }
        inner.len -= out.len();
        self.unlock(inner);
        self.intake.free(out.iter().filter(|(one, _)| one.handed()).count());
        out
    }

    /// After a change.
    fn unlock(&self, inner: MutexGuard<'_, Inner<T>>) {
        self.len.store(inner.len, Ordering::Release);
        drop(inner);
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Inner<T> {
    /// The class and rank of the cell to take from; none: all cells are empty.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::LaneId;

    /// A device of one range, with a number to know it by.
    #[derive(Debug)]
    struct Mark(Class, Priority, u32);

    impl Queued for Mark {
        fn range(&self) -> (Class, Priority) {
            (self.0, self.1)
        }

        fn handed(&self) -> bool {
            self.2 == HANDED
        }

        fn loaded(&self) -> Instant {
            Instant::now()
        }
    }

    const HANDED: u32 = u32::MAX;

    fn queue(cap: usize) -> ReadyQueue<Mark> {
        let intake = Arc::new(LaneIntake::new(LaneId(1), 10));
        intake.set_open(true);
        ReadyQueue::new(intake, cap)
    }

    fn fill(queue: &ReadyQueue<Mark>, class: Class, priority: Priority, count: u32) {
        queue.push((0..count).map(|i| Mark(class, priority, i)));
    }

    fn drain(queue: &ReadyQueue<Mark>, count: usize) -> Vec<(Class, Priority)> {
        (0..count).map_while(|_| queue.try_pop()).map(|mark| mark.range()).collect()
    }

    #[test]
    fn room_is_counted_by_class_and_priority() {
        let queue = queue(5);
        fill(&queue, Class::Bulk, Priority::Normal, 7);
        assert_eq!(queue.room(Class::Bulk, Priority::Normal), 0);
        assert_eq!(queue.room(Class::Bulk, Priority::High), 5);
        assert_eq!(queue.room(Class::Direct, Priority::Normal), 5);
        drain(&queue, 3);
        assert_eq!(queue.room(Class::Bulk, Priority::Normal), 1);
    }

    #[test]
    fn priorities_are_strict_and_direct_goes_first_within_one() {
        let queue = queue(10);
        for priority in [Priority::Low, Priority::Normal, Priority::High] {
            fill(&queue, Class::Retry, priority, 1);
            fill(&queue, Class::Direct, priority, 1);
        }
        let order: Vec<_> =
            Priority::DESCENDING.into_iter().flat_map(|p| [(Class::Direct, p), (Class::Retry, p)]).collect();
        assert_eq!(drain(&queue, 6), order);
    }

    #[test]
    fn first_in_first_out_within_a_range() {
        let queue = queue(10);
        fill(&queue, Class::Direct, Priority::Normal, 5);
        let numbers: Vec<u32> = std::iter::from_fn(|| queue.try_pop()).map(|mark| mark.2).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4]);
        assert!(queue.is_empty());
    }

    #[test]
    fn retries_and_broadcasts_each_have_a_tenth_while_direct_never_runs_out() {
        let queue = queue(10_000);
        fill(&queue, Class::Direct, Priority::High, 1_000);
        fill(&queue, Class::Retry, Priority::Low, 1_000);
        fill(&queue, Class::Bulk, Priority::Low, 1_000);
        let served = drain(&queue, 500);
        for class in [Class::Retry, Class::Bulk] {
            assert_eq!(served.iter().filter(|(of, _)| *of == class).count(), 50, "{class:?}");
        }
        assert_eq!(served.iter().filter(|(of, _)| *of == Class::Direct).count(), 400);
    }

    #[test]
    fn an_unused_share_goes_to_the_others() {
        let queue = queue(100);
        fill(&queue, Class::Direct, Priority::Normal, 30);
        assert_eq!(drain(&queue, 30).len(), 30);
    }

    #[test]
    fn devices_pushed_after_the_end_are_dropped() {
        let queue = queue(10);
        fill(&queue, Class::Direct, Priority::High, 2);
        queue.close();
        fill(&queue, Class::Direct, Priority::High, 2);
        assert!(queue.is_empty() && queue.try_pop().is_none());
    }

    #[test]
    fn a_removed_device_leaves_the_others_in_their_places_and_gives_room_back() {
        let queue = queue(10);
        assert!(queue.oldest().is_none());
        let slot = queue.intake.reserve(Priority::High, 10);
        let held = slot.map(std::mem::forget);
        assert!(held.is_some() && queue.intake.reserve(Priority::High, 1).is_none());
        for number in [1, HANDED, 2, 3] {
            queue.push([Mark(Class::Direct, Priority::High, number)]);
        }
        let out = queue.remove_ended(|mark| (mark.2 == HANDED || mark.2 == 3).then_some(mark.2));
        assert_eq!(out.iter().map(|(_, number)| *number).collect::<Vec<_>>(), [HANDED, 3]);
        assert!(queue.intake.reserve(Priority::High, 1).is_some(), "one of them was handed over");
        let mut left = Vec::new();
        queue.for_each(|mark| left.push(mark.2));
        assert_eq!(left, [1, 2]);
        assert!(queue.oldest().is_some());
        assert_eq!(drain(&queue, 10).len(), 2);
        assert!(queue.is_empty());
    }

    #[test]
    fn devices_that_leave_give_the_intake_its_room_back() {
        for leave in [|queue: &ReadyQueue<Mark>| drop(drain(queue, 10)), ReadyQueue::clear] {
            let queue = queue(10);
            let taken: Vec<_> = (0..10).map(|_| queue.intake.reserve(Priority::High, 1)).collect();
            assert!(taken.iter().all(Option::is_some));
            assert!(queue.intake.reserve(Priority::High, 1).is_none());
            queue.push((0..4).map(|_| Mark(Class::Direct, Priority::High, HANDED)));
            fill(&queue, Class::Direct, Priority::High, 4);
            leave(&queue);
            let again: Vec<_> = (0..10).map_while(|_| queue.intake.reserve(Priority::High, 1)).collect();
            assert_eq!(again.len(), 4, "only what was handed over");
            assert!(queue.is_empty());
        }
    }
}
