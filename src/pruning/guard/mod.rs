//! Stops pruning when a lane calls too many tokens dead at once (docs/queue.md#pruning-guard), because then the lane's
//! configuration is the likelier cause. While the guard is engaged nothing more is quarantined, and what the lane
//! quarantined with the same reason within the last hour comes back.
//!
//! Attempts only count, in three atomics. The share of verdicts is judged where verdicts are applied, over the last ten
//! minutes of this node. Nodes agree in the database that the guard is engaged. It is released after ten minutes without
//! too many verdicts on any node, or by an operator; then every node counts from zero.

mod history;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::domain::{Certainty, LaneId, TokenVerdict};
use crate::store::lanes;
use history::{AnswerHistory, Counts};

/// Time between two confirmations to the database that there still are too many verdicts.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(30);

/// The guards of all lanes.
#[derive(Debug, Default)]
pub struct PruningGuards {
    lanes: Mutex<HashMap<LaneId, Arc<PruningGuard>>>,
    /// Some guard has pending actions.
    has_actions: Notify,
}

impl PruningGuards {
    /// The guard of a lane, made by the first call. `name`: as logs name the lane, where the caller knows it.
    pub fn get_or_add(&self, lane: LaneId, name: Option<&str>) -> Arc<PruningGuard> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let name = || name.map_or_else(|| format!("number {}", lane.0), str::to_owned);
        Arc::clone(lanes.entry(lane).or_insert_with(|| Arc::new(PruningGuard::new(lane, name()))))
    }

    /// Wakes the task that carries out pending actions.
    pub fn wake(&self) {
        self.has_actions.notify_one();
    }

    /// Returns after [`Self::wake`]. Only one task may wait.
    pub(super) async fn changed(&self) {
        self.has_actions.notified().await;
    }

    pub(crate) fn all(&self) -> Vec<Arc<PruningGuard>> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.values().map(Arc::clone).collect()
    }
}

/// What an answer of the provider says about a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenSignal {
    /// The token may be alive.
    MayBeAlive,
    /// The token is dead.
    Dead(Certainty),
    /// A doubtful verdict about a token that was counted as `MayBeAlive` before: the other environment did not take it
    /// either.
    DeadAfterAll,
}

/// The guard of one lane.
#[derive(Debug)]
pub struct PruningGuard {
    lane: LaneId,
    name: String,
    answers: AtomicU64,
    doubtful: AtomicU64,
    certain: AtomicU64,
    /// Whether `inner.engagement` is some, to be read without the lock.
    is_engaged: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    history: AnswerHistory,
    engagement: Option<Engagement>,
    actions: PendingActions,
    /// When the database last took a decision of this node. Older readings do not have it.
    stored_at: Option<Instant>,
}

#[derive(Debug)]
struct Engagement {
    /// Verdicts that leave no doubt are held back too.
    certain: bool,
    /// The database has it.
    is_stored: bool,
    /// When the database was last told of too many verdicts, or is to be.
    confirmed_at: Instant,
    /// Devices quarantined with these reasons have come back, or are to.
    reasons: BTreeSet<String>,
}

/// What has to be done in the database, in this order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct PendingActions {
    /// Store that the guard is engaged, for this reason; true: for certain verdicts too.
    pub(crate) engage: Option<(String, bool)>,
    /// Store that there still are too many verdicts.
    pub(crate) confirm: bool,
    /// Bring back what was quarantined with these reasons.
    pub(crate) restore: BTreeSet<String>,
    /// Release the guard, unless another node disagrees.
    pub(crate) release: bool,
}

impl PruningGuard {
    fn new(lane: LaneId, name: String) -> Self {
        Self {
            lane,
            name,
            answers: AtomicU64::new(0),
            doubtful: AtomicU64::new(0),
            certain: AtomicU64::new(0),
            is_engaged: AtomicBool::new(false),
            inner: Mutex::default(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn lane(&self) -> LaneId {
        self.lane
    }

    /// Counts an answer: one or two atomic additions, since every attempt does it.
    pub fn count(&self, signal: TokenSignal) {
        if signal != TokenSignal::DeadAfterAll {
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
        match signal {
            TokenSignal::MayBeAlive => {}
            TokenSignal::Dead(Certainty::Certain) => _ = self.certain.fetch_add(1, Ordering::Release),
            TokenSignal::Dead(Certainty::Doubtful) | TokenSignal::DeadAfterAll => {
                self.doubtful.fetch_add(1, Ordering::Release);
            }
        }
    }

    /// True: doubtful verdicts do not apply.
    pub fn is_engaged(&self) -> bool {
        self.is_engaged.load(Ordering::Relaxed)
    }

    /// Returns the verdicts that apply, and engages the guard if there are too many.
    pub(crate) fn filter(&self, verdicts: Vec<TokenVerdict>) -> Vec<TokenVerdict> {
        let mut inner = self.lock();
        let counts = self.collect(&mut inner);
        for certainty in [Certainty::Doubtful, Certainty::Certain] {
            if let Some(reason) = most_frequent(&verdicts, certainty)
                && counts.too_many(certainty)
            {
                inner.engage_or_confirm(&self.name, &reason, certainty, counts);
            }
        }
        self.is_engaged.store(inner.engagement.is_some(), Ordering::Relaxed);
        let Some(engagement) = &mut inner.engagement else { return verdicts };
        let applies = |verdict: &TokenVerdict| verdict.certainty == Certainty::Certain && !engagement.certain;
        let (applicable, held): (Vec<_>, Vec<_>) = verdicts.into_iter().partition(applies);
        let reasons = held.iter().map(|verdict| verdict.reason.as_str().to_owned());
        let new: BTreeSet<String> =
            reasons.filter(|reason| engagement.reasons.insert(reason.clone())).collect();
        inner.actions.restore.extend(new);
        applicable
    }

    /// Takes over what the database said about the guard; `asked_at`: before it was read. True: there are pending actions.
    pub fn read(&self, stored: Option<&lanes::StoredPruningGuard>, asked_at: Instant) -> bool {
        let mut inner = self.lock();
        let counts = self.collect(&mut inner);
        if inner.stored_at.is_some_and(|at| at >= asked_at) {
            return false;
        }
        match (&mut inner.engagement, stored) {
            (None, Some(stored)) => {
                tracing::warn!(
                    lane = self.name,
                    reason = stored.reason,
                    detail = "another node met too many verdicts about tokens",
                    "pruning guard engaged"
                );
                inner.actions.restore.insert(stored.reason.clone());
                inner.engagement = Some(Engagement {
                    certain: stored.certain,
                    is_stored: true,
                    confirmed_at: Instant::now(),
                    reasons: BTreeSet::from([stored.reason.clone()]),
                });
            }
            (Some(engagement), Some(stored)) => {
                engagement.is_stored = true;
                engagement.certain |= stored.certain;
                let has_too_many = [Certainty::Doubtful, Certainty::Certain].map(|c| counts.too_many(c));
                inner.actions.release = stored.quiet && has_too_many == [false; 2];
            }
            (Some(engagement), None) if engagement.is_stored => self.release(&mut inner),
            (_, None) => {}
        }
        self.is_engaged.store(inner.engagement.is_some(), Ordering::Relaxed);
        inner.actions != PendingActions::default()
    }

    /// The caller carries them out, or puts them back.
    pub(crate) fn take_actions(&self) -> PendingActions {
        std::mem::take(&mut self.lock().actions)
    }

    /// For actions that could not be carried out: a later call of [`Self::take_actions`] returns them again.
    pub(crate) fn put_back(&self, actions: PendingActions) {
        let mut inner = self.lock();
        let newer = &mut inner.actions;
        newer.engage = newer.engage.take().or(actions.engage);
        newer.confirm |= actions.confirm;
        newer.restore.extend(actions.restore);
    }

    /// The database has it that the guard is engaged.
    pub(crate) fn mark_stored(&self) {
        let mut inner = self.lock();
        inner.stored_at = Some(Instant::now());
        if let Some(engagement) = &mut inner.engagement {
            engagement.is_stored = true;
        }
    }

    /// The database has it that the guard is released: by an operator, or after ten minutes without too many verdicts.
    pub(crate) fn mark_released(&self) {
        let mut inner = self.lock();
        inner.stored_at = Some(Instant::now());
        self.release(&mut inner);
        self.is_engaged.store(false, Ordering::Relaxed);
    }

    /// Counts from zero. Devices that are to come back still do.
    fn release(&self, inner: &mut Inner) {
        tracing::info!(lane = self.name, "pruning guard released");
        self.collect(inner);
        inner.history = AnswerHistory::default();
        inner.engagement = None;
        let restore = std::mem::take(&mut inner.actions.restore);
        inner.actions = PendingActions { restore, ..PendingActions::default() };
    }

    /// Moves what attempts have counted into the history, and sums the history up.
    fn collect(&self, inner: &mut Inner) -> Counts {
        // Verdicts first: none is seen without its answer.
        let doubtful = self.doubtful.swap(0, Ordering::Acquire);
        let certain = self.certain.swap(0, Ordering::Acquire);
        let answers = self.answers.swap(0, Ordering::Relaxed);
        inner.history.add(Counts { answers, doubtful, certain })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// There are too many verdicts of this certainty.
    fn engage_or_confirm(&mut self, lane: &str, reason: &str, certainty: Certainty, counts: Counts) {
        let certain = certainty == Certainty::Certain;
        let now = Instant::now();
        match &mut self.engagement {
            Some(engagement) if engagement.certain || !certain => {
                if engagement.confirmed_at.elapsed() >= CONFIRM_INTERVAL {
                    engagement.confirmed_at = now;
                    self.actions.confirm = true;
                }
            }
            engagement => {
                let Counts { answers, doubtful, certain: certain_verdicts } = counts;
                tracing::error!(
                    lane,
                    reason,
                    answers,
                    doubtful,
                    certain = certain_verdicts,
                    detail = "no token of the lane is pruned, and devices that were quarantined for the reason within the \
                              last hour come back",
                    hint = "check the topic, project, environment and credential of the lane; the guard is released after \
                            ten minutes without too many such answers, or when the lane is resumed",
                    "pruning guard engaged because the provider calls too many tokens dead"
                );
                let reasons = engagement.take().map(|before| before.reasons).unwrap_or_default();
                *engagement = Some(Engagement { certain, is_stored: false, confirmed_at: now, reasons });
                self.actions.engage = Some((reason.to_owned(), certain));
            }
        }
    }
}

fn most_frequent(verdicts: &[TokenVerdict], certainty: Certainty) -> Option<String> {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for verdict in verdicts.iter().filter(|verdict| verdict.certainty == certainty) {
        *reasons.entry(verdict.reason.as_str()).or_default() += 1;
    }
    reasons.into_iter().max_by_key(|(_, count)| *count).map(|(reason, _)| reason.to_owned())
}

#[cfg(test)]
mod tests;
