//! A provider's quota of messages per minute. It belongs to a project, which several apps may share, and to all nodes
//! together: each node takes its part (docs/queue.md#project-quota, docs/providers.md#fcm-quotas).
//!
//! It is spent evenly, because Google asks not to send a minute's messages within its first seconds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::quota_usage::QuotaUsage;
use crate::domain::{LaneId, Reason};

/// The messages of this time may be saved up and sent at once.
const BURST: Duration = Duration::from_secs(1);

/// The part of a project's quota that this node may use. Shared by the project's lanes.
#[derive(Debug)]
pub struct Quota {
    inner: Mutex<Inner>,
    /// What was sent within the last minute: only the metrics read it.
    usage: QuotaUsage,
    /// Ends all waits, because an operator asked for a retry.
    wait_ended: Notify,
}

#[derive(Debug)]
struct Inner {
    per_minute: u32,
    /// How many nodes send through each of the project's lanes. `nodes` is the greatest of them.
    nodes_by_lane: HashMap<LaneId, u32>,
    nodes: u32,
    /// When all messages reserved so far have been earned.
    earned_by: Instant,
    /// Some: the provider said so.
    over_quota: Option<OverQuota>,
}

/// A project that is over its quota: all its lanes wait, whichever lane got the answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::dispatch) struct OverQuota {
    /// As the provider called it.
    pub(in crate::dispatch) why: Reason,
    /// When the provider first said so.
    pub(in crate::dispatch) since: Instant,
    /// When the wait ends.
    pub(in crate::dispatch) until: Instant,
}

impl Quota {
    /// The quota of a whole project, in messages per minute; at least one.
    pub fn new(per_minute: u32) -> Self {
        let per_minute = per_minute.max(1);
        let inner = Inner {
            per_minute,
            nodes_by_lane: HashMap::new(),
            nodes: 1,
            earned_by: Instant::now(),
            over_quota: None,
        };
        Self { inner: Mutex::new(inner), usage: QuotaUsage::new(per_minute), wait_ended: Notify::new() }
    }

    /// The configuration has another number of messages per minute.
    pub fn set_per_minute(&self, per_minute: u32) {
        let mut inner = self.lock();
        inner.per_minute = per_minute.max(1);
        self.usage.set_share(inner.per_minute, inner.nodes);
    }

    /// Tells how many nodes send through a lane. Another lane of the project may have more nodes, because not every node
    /// learns of a new app at once.
    pub(in crate::dispatch) fn share_among(&self, lane: LaneId, nodes: u32) {
        let mut inner = self.lock();
        inner.nodes_by_lane.insert(lane, nodes);
        inner.count_nodes();
        self.usage.set_share(inner.per_minute, inner.nodes);
    }

    /// A lane sends through another project from now on.
    pub(in crate::dispatch) fn leave(&self, lane: LaneId) {
        let mut inner = self.lock();
        inner.nodes_by_lane.remove(&lane);
        inner.count_nodes();
        self.usage.set_share(inner.per_minute, inner.nodes);
    }

    /// No message is sent before then, because the project is over its quota.
    pub(in crate::dispatch) fn wait_until(&self, until: Instant, why: &Reason) {
        let mut inner = self.lock();
        inner.earned_by = inner.earned_by.max(until);
        let now = Instant::now();
        let before = inner.over_quota.take().filter(|told| told.until > now);
        let until = before.as_ref().map_or(until, |told| told.until.max(until));
        inner.over_quota =
            Some(OverQuota { why: why.clone(), since: before.map_or(now, |told| told.since), until });
        self.usage.set_wait(Some(until));
    }

    /// What is left of this node's part of the last minute, from 0 to 1; 0 during a wait. Takes no lock.
    pub(in crate::dispatch) fn remaining(&self) -> f64 {
        self.usage.remaining()
    }

    /// Does the provider say that the project is over its quota? Takes no lock.
    pub(in crate::dispatch) fn is_over(&self) -> bool {
        self.usage.is_over()
    }

    /// What the provider said, until the wait ends.
    pub(in crate::dispatch) fn over_quota(&self) -> Option<OverQuota> {
        let now = Instant::now();
        self.lock().over_quota.clone().filter(|told| told.until > now)
    }

    /// An operator asks for a retry now.
    pub(in crate::dispatch) fn end_wait(&self) {
        let mut inner = self.lock();
        inner.earned_by = inner.earned_by.min(Instant::now());
        inner.over_quota = None;
        self.usage.set_wait(None);
        drop(inner);
        self.wait_ended.notify_waiters();
    }

    /// Reserves one message and waits until it may be sent. Dropped before that, the message is given back.
    pub(in crate::dispatch) async fn take(self: &Arc<Self>) -> QuotaUnit {
        let wait_ended = self.wait_ended.notified();
        let (unit, at) = {
            let mut inner = self.lock();
            let cost = inner.cost();
            inner.earned_by = inner.earned_by_now() + cost;
            (self.unit(cost), inner.earned_by)
        };
        if at > Instant::now() {
            tokio::select! {
                () = sleep_until(at) => {}
                () = wait_ended => {}
            }
        }
        unit
    }

    /// Reserves one message if it may be sent now.
    pub(in crate::dispatch) fn try_take(self: &Arc<Self>) -> Option<QuotaUnit> {
        let mut inner = self.lock();
        let cost = inner.cost();
        let at = inner.earned_by_now() + cost;
        let is_earned = at <= Instant::now();
        if is_earned {
            inner.earned_by = at;
        }
        is_earned.then(|| self.unit(cost))
    }

    fn unit(self: &Arc<Self>, cost: Duration) -> QuotaUnit {
        QuotaUnit { quota: Arc::clone(self), cost: Some(cost) }
    }

    /// Another lane may send the message, but none before the end of the wait that the provider asked for.
    fn give_back(&self, cost: Duration) {
        let mut inner = self.lock();
        let earned_by = inner.earned_by.checked_sub(cost).unwrap_or(inner.earned_by);
        let wait_until = inner.over_quota.as_ref().map(|told| told.until);
        inner.earned_by = wait_until.map_or(earned_by, |until| earned_by.max(until.min(inner.earned_by)));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// How long it takes to earn one message.
    fn cost(&self) -> Duration {
        Duration::from_secs(60) * self.nodes / self.per_minute
    }

    /// When all messages reserved so far have been earned, less what may be saved up.
    fn earned_by_now(&self) -> Instant {
        let saved = Instant::now().checked_sub(BURST);
        saved.map_or(self.earned_by, |saved| self.earned_by.max(saved))
    }

    fn count_nodes(&mut self) {
        self.nodes = self.nodes_by_lane.values().copied().max().unwrap_or(1).max(1);
    }
}

/// The quota that a lane counts with: that of the project of its present credential. None: the provider has none.
#[derive(Debug)]
pub(in crate::dispatch) struct LaneQuota(watch::Sender<Option<Arc<Quota>>>);

impl LaneQuota {
    pub(in crate::dispatch) fn new(quota: Option<Arc<Quota>>) -> Self {
        Self(watch::Sender::new(quota))
    }

    /// The present quota.
    pub(in crate::dispatch) fn current(&self) -> Option<Arc<Quota>> {
        self.0.borrow().clone()
    }

    /// The present quota and later ones, so that the wait for one can end with the next.
    pub(in crate::dispatch) fn watch(&self) -> watch::Receiver<Option<Arc<Quota>>> {
        self.0.subscribe()
    }

    /// The lane's credential has changed.
    pub(in crate::dispatch) fn replace(&self, quota: Option<Arc<Quota>>) {
        self.0.send_replace(quota);
    }
}

/// One message of the quota, reserved for one lane. Dropped unspent, it is given back.
#[derive(Debug)]
#[must_use]
pub(in crate::dispatch) struct QuotaUnit {
    quota: Arc<Quota>,
    /// None: it is spent.
    cost: Option<Duration>,
}

impl QuotaUnit {
    /// The message is sent, or may have been.
    pub(in crate::dispatch) fn spend(mut self) {
        self.cost = None;
        self.quota.usage.note_sent();
    }
}

impl Drop for QuotaUnit {
    fn drop(&mut self) {
        if let Some(cost) = self.cost {
            self.quota.give_back(cost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn took(quota: &Arc<Quota>, messages: u32) -> Duration {
        let began = Instant::now();
        for _ in 0..messages {
            quota.take().await.spend();
        }
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_minute_s_messages_take_a_minute() {
        let quota = Arc::new(Quota::new(600));
        let took = took(&quota, 600).await;
        assert!((59..=60).contains(&took.as_secs()), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn unused_messages_are_saved_up_for_a_second_and_no_longer() {
        let quota = Arc::new(Quota::new(600));
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(took(&quota, 10).await, Duration::ZERO);
        assert!(took(&quota, 10).await >= Duration::from_millis(990));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_is_not_sent_is_given_back() {
        let quota = Arc::new(Quota::new(60));
        quota.take().await.spend();
        drop(quota.take().await);
        let unit = quota.try_take();
        assert!(unit.is_some(), "the same message once more");
        assert!(quota.try_take().is_none(), "it is reserved");
        drop(unit);
        drop(tokio::time::timeout(Duration::ZERO, quota.take()).await);
        assert!(quota.try_take().is_some(), "nor does a lane keep one that it gave up waiting for");
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_is_given_back_ends_no_wait_that_the_provider_asked_for() {
        let quota = Arc::new(Quota::new(600_000));
        let units = [quota.try_take(), quota.try_take()];
        quota.wait_until(Instant::now() + Duration::from_secs(60), &Reason::new("429"));
        drop(units);
        assert!(took(&quota, 1).await >= Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn each_node_takes_its_part_by_the_lane_with_the_most_nodes() {
        let quota = Arc::new(Quota::new(600));
        quota.share_among(LaneId(1), 3);
        quota.share_among(LaneId(2), 1);
        let took = took(&quota, 200).await;
        assert!((59..=60).contains(&took.as_secs()), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_that_has_left_the_project_does_not_count() {
        let quota = Arc::new(Quota::new(600));
        quota.share_among(LaneId(1), 3);
        quota.share_among(LaneId(2), 1);
        quota.leave(LaneId(1));
        let took = took(&quota, 200).await;
        assert!((19..=20).contains(&took.as_secs()), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn another_number_per_minute_counts_at_once() {
        let quota = Arc::new(Quota::new(1));
        quota.set_per_minute(600);
        let took = took(&quota, 200).await;
        assert!((19..=20).contains(&took.as_secs()), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_project_that_is_over_its_quota_waits_in_all_its_lanes() {
        let quota = Arc::new(Quota::new(600_000));
        quota.wait_until(Instant::now() + Duration::from_secs(60), &Reason::new("429"));
        assert!(took(&quota, 1).await >= Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_the_provider_asked_for_is_known_until_it_ends() {
        let quota = Arc::new(Quota::new(600_000));
        assert_eq!(quota.over_quota(), None);
        let (since, why) = (Instant::now(), Reason::new("429"));
        quota.wait_until(since + Duration::from_secs(60), &why);
        tokio::time::advance(Duration::from_secs(30)).await;
        quota.wait_until(Instant::now() + Duration::from_secs(60), &why);
        let until = since + Duration::from_secs(90);
        assert_eq!(quota.over_quota(), Some(OverQuota { why: why.clone(), since, until }));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(quota.over_quota(), None);
        quota.wait_until(Instant::now() + Duration::from_secs(60), &why);
        quota.end_wait();
        assert_eq!(quota.over_quota(), None, "an operator's word ends it");
    }

    #[tokio::test(start_paused = true)]
    async fn an_operator_s_retry_ends_the_wait() {
        let quota = Arc::new(Quota::new(600_000));
        quota.wait_until(Instant::now() + Duration::from_secs(3600), &Reason::new("429"));
        let wanted = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            quota.end_wait();
        };
        let (took, ()) = tokio::join!(took(&quota, 10), wanted);
        assert!((5..6).contains(&took.as_secs()), "{took:?}");
    }
}
