//! What a lane answered lately, and what is too much of it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::Certainty;

/// How far back answers count.
pub(crate) const WINDOW: Duration = Duration::from_secs(600);
/// They are kept in portions of so long, and leave the window by portions.
pub(crate) const PORTION: Duration = Duration::from_secs(30);
/// So many doubtful verdicts are few, whatever else the lane answers; and so is one in twenty.
pub(crate) const FEW: u64 = 5;
const FEW_OF: u64 = 20;
/// Verdicts that leave no doubt are too many above half of the answers, once there are so many.
pub(crate) const LEAST_ANSWERS: u64 = 200;

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
            Certainty::Doubtful => self.doubtful > FEW.max(self.answers / FEW_OF),
            Certainty::Certain => self.answers >= LEAST_ANSWERS && 2 * self.certain > self.answers,
        }
    }
}

/// What was answered lately, in portions, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct AnswerHistory {
    portions: VecDeque<(Instant, Counts)>,
}

impl AnswerHistory {
    /// Adds what came in since the last time, lets go of what is too old, and answers the sum.
    pub(crate) fn add(&mut self, counts: Counts) -> Counts {
        while self.portions.front().is_some_and(|(begun, _)| begun.elapsed() >= WINDOW) {
            self.portions.pop_front();
        }
        if self.portions.back().is_none_or(|(begun, _)| begun.elapsed() >= PORTION) {
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
