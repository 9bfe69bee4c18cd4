//! The brake on mass verdicts (docs/queue.md#pruning-guard): when a lane calls too many tokens dead at once, its
//! configuration is the likelier culprit. Then nothing more is set aside, and what the same word set aside within the
//! last hour comes back.
//!
//! Attempts only count, in three atomics. The share is judged where verdicts are applied, over the last ten minutes of
//! this node; that the brake is on all nodes agree upon in the database. It goes off after ten minutes without too much
//! on any node, or when an admin takes it off, and then every node counts afresh.

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

/// While there still is too much, the database is told so again after this time.
const SAY_AGAIN: Duration = Duration::from_secs(30);

/// The brakes of all lanes.
#[derive(Debug, Default)]
pub struct PruningGuards {
    lanes: Mutex<HashMap<LaneId, Arc<PruningGuard>>>,
    /// One of them has something to be done about.
    errands: Notify,
}

impl PruningGuards {
    /// The lane's brake, the same for everybody who asks. `name` is how the log calls the lane, where it is known.
    pub fn of(&self, lane: LaneId, name: Option<&str>) -> Arc<PruningGuard> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let name = || name.map_or_else(|| format!("number {}", lane.0), str::to_owned);
        Arc::clone(lanes.entry(lane).or_insert_with(|| Arc::new(PruningGuard::new(lane, name()))))
    }

    /// Wakes the task that does what guards ask for.
    pub fn wake(&self) {
        self.errands.notify_one();
    }

    /// Returns after [`Self::wake`]. Only one task may wait.
    pub(super) async fn changed(&self) {
        self.errands.notified().await;
    }

    pub(crate) fn all(&self) -> Vec<Arc<PruningGuard>> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.values().map(Arc::clone).collect()
    }
}

/// What a lane answers about tokens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenSignal {
    /// Anything but that a token is dead.
    Other,
    /// That it is dead.
    Dead(Certainty),
    /// Of a token whose answer was counted before, and which no other environment took: it was a doubtful verdict.
    DeadAfterAll,
}

/// One lane's brake.
#[derive(Debug)]
pub struct PruningGuard {
    lane: LaneId,
    name: String,
    answers: AtomicU64,
    doubtful: AtomicU64,
    certain: AtomicU64,
    on: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    window: AnswerHistory,
    on: Option<On>,
    errands: Errands,
    /// When our word of it was in the database: older readings know nothing of it.
    said_at: Option<Instant>,
}

#[derive(Debug)]
struct On {
    /// For verdicts that leave no doubt as well.
    certain: bool,
    /// The database has said so too.
    agreed: bool,
    /// When the database was last told, or is to be.
    told_at: Instant,
    /// The words whose devices have been brought back, or are to be.
    words: BTreeSet<String>,
}

/// What the database is to be told, in this order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Errands {
    /// The brake is on, because of this word; for certain verdicts as well?
    pub(crate) engaged: Option<(String, bool)>,
    /// There still is too much.
    pub(crate) hold: bool,
    /// What was set aside with these words comes back.
    pub(crate) restore: BTreeSet<String>,
    /// It may go off.
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
            on: AtomicBool::new(false),
            inner: Mutex::default(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn lane(&self) -> LaneId {
        self.lane
    }

    /// Counts an answer. All that an attempt costs.
    pub fn count(&self, said: TokenSignal) {
        if said != TokenSignal::DeadAfterAll {
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
        match said {
            TokenSignal::Other => {}
            TokenSignal::Dead(Certainty::Certain) => _ = self.certain.fetch_add(1, Ordering::Release),
            TokenSignal::Dead(Certainty::Doubtful) | TokenSignal::DeadAfterAll => {
                self.doubtful.fetch_add(1, Ordering::Release);
            }
        }
    }

    /// Is it on?
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Keeps the verdicts that apply.
    pub(crate) fn sift(&self, verdicts: Vec<TokenVerdict>) -> Vec<TokenVerdict> {
        let mut inner = self.lock();
        let counts = self.look(&mut inner);
        for certainty in [Certainty::Doubtful, Certainty::Certain] {
            if let Some(word) = most_frequent(&verdicts, certainty)
                && counts.too_many(certainty)
            {
                inner.too_much(&self.name, &word, certainty, counts);
            }
        }
        self.on.store(inner.on.is_some(), Ordering::Relaxed);
        let Some(on) = &mut inner.on else { return verdicts };
        let (kept, held): (Vec<_>, Vec<_>) =
            verdicts.into_iter().partition(|verdict| verdict.certainty == Certainty::Certain && !on.certain);
        let words = held.iter().map(|verdict| verdict.reason.as_str().to_owned());
        let news: BTreeSet<String> = words.filter(|word| on.words.insert(word.clone())).collect();
        inner.errands.restore.extend(news);
        kept
    }

    /// What the database said to somebody who asked at `asked_at`. Answers whether there is something to be done.
    pub fn read(&self, said: Option<&lanes::StoredPruningGuard>, asked_at: Instant) -> bool {
        let mut inner = self.lock();
        let counts = self.look(&mut inner);
        if inner.said_at.is_some_and(|at| at >= asked_at) {
            return false;
        }
        match (&mut inner.on, said) {
            (None, Some(said)) => {
                let (name, reason) = (&self.name, &said.reason);
                tracing::warn!(lane = name, reason, "lane {name}: pruning is braked, as agreed");
                inner.errands.restore.insert(said.reason.clone());
                inner.on = Some(On {
                    certain: said.certain,
                    agreed: true,
                    told_at: Instant::now(),
                    words: BTreeSet::from([said.reason.clone()]),
                });
            }
            (Some(on), Some(said)) => {
                on.agreed = true;
                on.certain |= said.certain;
                let healthy = [Certainty::Doubtful, Certainty::Certain].map(|c| !counts.too_many(c));
                inner.errands.release = said.quiet && healthy == [true; 2];
            }
            (Some(on), None) if on.agreed => self.off(&mut inner),
            (_, None) => {}
        }
        self.on.store(inner.on.is_some(), Ordering::Relaxed);
        inner.errands != Errands::default()
    }

    /// Takes what is to be done.
    pub(crate) fn take_errands(&self) -> Errands {
        std::mem::take(&mut self.lock().errands)
    }

    /// It could not be done: it is to be done later.
    pub(crate) fn put_back(&self, errands: Errands) {
        let mut inner = self.lock();
        let newer = &mut inner.errands;
        newer.engaged = newer.engaged.take().or(errands.engaged);
        newer.hold |= errands.hold;
        newer.restore.extend(errands.restore);
    }

    /// The database knows that it is on.
    pub(crate) fn was_engaged(&self) {
        let mut inner = self.lock();
        inner.said_at = Some(Instant::now());
        if let Some(on) = &mut inner.on {
            on.agreed = true;
        }
    }

    /// The database says that it is off: by an admin, or after ten quiet minutes. All is counted afresh.
    pub(crate) fn was_released(&self) {
        let mut inner = self.lock();
        inner.said_at = Some(Instant::now());
        self.off(&mut inner);
        self.on.store(false, Ordering::Relaxed);
    }

    fn off(&self, inner: &mut Inner) {
        tracing::info!(lane = self.name, "lane {}: pruning is no longer braked", self.name);
        self.look(inner);
        inner.window = AnswerHistory::default();
        inner.on = None;
        let restore = std::mem::take(&mut inner.errands.restore);
        inner.errands = Errands { restore, ..Errands::default() };
    }

    /// The window with what was counted since.
    fn look(&self, inner: &mut Inner) -> Counts {
        // Verdicts first: none is seen without its answer.
        let doubtful = self.doubtful.swap(0, Ordering::Acquire);
        let certain = self.certain.swap(0, Ordering::Acquire);
        let answers = self.answers.swap(0, Ordering::Relaxed);
        inner.window.add(Counts { answers, doubtful, certain })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn too_much(&mut self, name: &str, word: &str, certainty: Certainty, counts: Counts) {
        let certain = certainty == Certainty::Certain;
        let now = Instant::now();
        match &mut self.on {
            Some(on) if on.certain || !certain => {
                if on.told_at.elapsed() >= SAY_AGAIN {
                    on.told_at = now;
                    self.errands.hold = true;
                }
            }
            on => {
                let Counts { answers, doubtful, certain: certain_verdicts } = counts;
                tracing::error!(
                    lane = name,
                    reason = word,
                    answers,
                    doubtful,
                    certain = certain_verdicts,
                    "lane {name} calls too many tokens dead: its topic, project, environment or credential is suspected. \
                     Pruning is braked, and what {word} set aside within the last hour comes back. It is released after \
                     ten minutes without too many such answers, or when the lane is resumed"
                );
                let words = on.take().map(|on| on.words).unwrap_or_default();
                *on = Some(On { certain, agreed: false, told_at: now, words });
                self.errands.engaged = Some((word.to_owned(), certain));
            }
        }
    }
}

fn most_frequent(verdicts: &[TokenVerdict], certainty: Certainty) -> Option<String> {
    let mut words: BTreeMap<&str, usize> = BTreeMap::new();
    for verdict in verdicts.iter().filter(|verdict| verdict.certainty == certainty) {
        *words.entry(verdict.reason.as_str()).or_default() += 1;
    }
    words.into_iter().max_by_key(|(_, count)| *count).map(|(word, _)| word.to_owned())
}

#[cfg(test)]
mod tests;
