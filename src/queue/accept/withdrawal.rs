//! Whether a request is withdrawn or stored. A caller that was told that nothing is stored must not find it stored later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const OPEN: u8 = 0;
const STORING: u8 = 1;
const WITHDRAWN: u8 = 2;

/// The decision about one request: of the caller, which may withdraw it, and of the committer, which may begin to store
/// it, the first one decides. Cheap to clone; clones share the decision.
#[derive(Clone, Debug, Default)]
pub(super) struct Withdrawal(Arc<AtomicU8>);

impl Withdrawal {
    /// Withdraws the request. False: the committer stores it already.
    pub(super) fn withdraw(&self) -> bool {
        self.decide(WITHDRAWN)
    }

    /// Called before each statement that may store the request. False: it was withdrawn.
    pub(super) fn begin_storing(&self) -> bool {
        self.decide(STORING)
    }

    fn decide(&self, decision: u8) -> bool {
        let decided = self.0.compare_exchange(OPEN, decision, Ordering::AcqRel, Ordering::Acquire);
        decided.unwrap_or_else(|earlier| if earlier == decision { OPEN } else { earlier }) == OPEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_decision_stays() {
        let withdrawn = Withdrawal::default();
        assert!(withdrawn.clone().withdraw());
        assert!(!withdrawn.begin_storing());
        let stored = Withdrawal::default();
        assert!(stored.clone().begin_storing() && stored.begin_storing(), "a batch may be halved");
        assert!(!stored.withdraw());
    }
}
