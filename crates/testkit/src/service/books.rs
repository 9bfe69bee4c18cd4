//! How a [`TestService`] ends, and the books that are checked then.

use std::sync::Arc;

use pushpost_simulator::{Entry, Ledger, Rule};

use super::TestService;
use crate::wait::WAIT_MAX;

impl TestService {
    /// Ends everything where all is done, and checks the books: no job is left, and what is on record as accepted is
    /// what the provider took, each once.
    pub async fn stop(self) {
        let ledger = self.simulator.ledger();
        self.stop_with_duplicates().await;
        assert_eq!(ledger.duplicates(), []);
    }

    /// The same where the provider may have got something twice: then with the same `apns-id`.
    pub async fn stop_with_duplicates(mut self) {
        self.end_nodes().await;
        assert_eq!(self.database.count("select count(*) from jobs").await, 0, "jobs");
        let recorded = self.database.count("select coalesce(sum(accepted), 0)::bigint from receipts").await;
        let ledger = self.simulator.ledger();
        let duplicates = ledger.duplicates();
        assert!(duplicates.iter().all(|duplicate| duplicate.same_apns_id != Some(false)), "{duplicates:?}");
        let taken = ledger.accepted_count() - u64::try_from(duplicates.len()).unwrap();
        assert_eq!(recorded.cast_unsigned(), taken, "on record as accepted, and taken by the provider");
        self.installation.simulator.stop().await;
    }

    /// Without the books: where something stays undecided, or is in doubt.
    pub async fn stop_undecided(mut self) {
        self.end_nodes().await;
        self.installation.simulator.stop().await;
    }

    pub fn ledger(&self) -> Arc<Ledger> {
        self.simulator.ledger()
    }

    pub fn rule(&self, rule: Rule) {
        self.simulator.add_rule(rule);
    }

    /// What the provider received for a token.
    pub fn received(&self, token: &str) -> Vec<Entry> {
        self.ledger().by_token(token)
    }

    /// Waits until the provider has received so many requests of notifications.
    pub async fn until_received(&self, count: usize) {
        let came = |ledger: &Ledger| sent(ledger).len() >= count;
        assert!(self.ledger().wait_until(WAIT_MAX, came).await, "{count} requests");
    }
}

/// The ledger's entries of notifications.
pub fn sent(ledger: &Ledger) -> Vec<Entry> {
    ledger.entries().into_iter().filter(|entry| entry.token.is_some()).collect()
}
