//! What a lane answered in the last ten minutes, and how many verdicts are too many.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::Certainty;

/// How far back answers count.
pub(crate) const HISTORY_SPAN: Duration = Duration::from_secs(600);
/// Answers are counted in portions of this length, and forgotten by portions.
pub(crate) const PORTION_SPAN: Duration = Duration::from_secs(30);
/// So many doubtful verdicts are few, however few answers there are.
pub(crate) const DOUBTFUL_FEW: u64 = 5;
/// One doubtful verdict in this many answers is few, too.
const ANSWERS_PER_DOUBTFUL: u64 = 20;
/// Certain verdicts are judged only once there are so many answers. Then more than half is too many.
pub(crate) const CERTAIN_ANSWERS_MIN: u64 = 200;

/// Answers about tokens, and the verdicts among them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) answers: u64,
    pub(crate) doubtful: u64,
    pub(crate) certain: u64,
}

impl Counts {
    pub(crate) fn too_many(self, certainty: Certainty) -> bool {
        match certainty {
            Certainty::Doubtful => self.doubtful > DOUBTFUL_FEW.max(self.answers / ANSWERS_PER_DOUBTFUL),
            Certainty::Certain => self.answers >= CERTAIN_ANSWERS_MIN && 2 * self.certain > self.answers,
        }
    }
}

/// What was answered in the last ten minutes, in portions, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct AnswerHistory {
    portions: VecDeque<(Instant, Counts)>,
}

impl AnswerHistory {
    /// Adds what was counted since the last call, forgets what is too old, and returns the sum.
    pub(crate) fn add(&mut self, counts: Counts) -> Counts {
        while self.portions.front().is_some_and(|(begun, _)| begun.elapsed() >= HISTORY_SPAN) {
            self.portions.pop_front();
        }
        if self.portions.back().is_none_or(|(begun, _)| begun.elapsed() >= PORTION_SPAN) {
            self.portions.push_back((Instant::now(), Counts::default()));
        }
        if let Some((_, last)) = self.portions.back_mut() {
            last.answers += counts.answers;
            last.doubtful += counts.doubtful;
            last.certain += counts.certain;
        }
        self.portions.iter().fold(Counts::default(), |sum, (_, portion)| Counts {
            answers: sum.answers + portion.answers,
            doubtful: sum.doubtful + portion.doubtful,
            certain: sum.certain + portion.certain,
        })
    }
}
