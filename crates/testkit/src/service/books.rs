//! How a [`TestService`] ends, and the books that are checked then.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pushpost_simulator::{Entry, Ledger, Rule};

use super::TestService;
use crate::log_watch;
use crate::wait::WAIT_MAX;

/// What a service logs where Postgres is away, refuses, or loses an answer.
const OUTAGE: &[&str] = &[
    "Postgres is out of reach",
    "maintenance failed",
    "a suspension of the lane, or its end, is not stored",
    "outcomes are not recorded",
    "events are not logged",
    "notifications not accepted",
    "a notification can't be stored",
    "answer to a commit is lost",
    "request is answered",
    "request failed with an internal error",
    "request failed because of Postgres",
    "backlog can't be read",
    "verdicts about tokens not stored",
    "change of a pruning guard not stored",
    "released jobs that were leased to this node",
    "going on as node",
    "has stopped beating",
    "jobs can't be",
    "can't be read",
    "is cut off",
    "row not removed",
];

/// Modules of tests that fail on what a service logs unexpectedly.
const WATCHED: [&str; 4] = ["whole::", "devices::", "notification_list::", "notifications::"];

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
        self.assert_log();
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
        self.assert_log();
        self.installation.simulator.stop().await;
    }

    /// From now on, and for what was logged before, warnings and errors with this message are no failure of the test.
    pub fn expect_log(&self, message: &'static str) {
        self.expected_logs.lock().unwrap().push(message);
    }

    /// As [`Self::expect_log`], for what is logged where Postgres is away, or nodes lose it.
    pub fn expect_outage_log(&self) {
        OUTAGE.iter().for_each(|message| self.expect_log(message));
    }

    /// Fails on a warning or an error that the test did not expect. This concerns the tests in [`WATCHED`]: the others break what
    /// a service stands on in more ways.
    fn assert_log(&self) {
        let is_watched = |test: &str| WATCHED.iter().any(|module| test.starts_with(module));
        if !std::thread::current().name().is_some_and(is_watched) {
            return;
        }
        let lines = log_watch::take(&self.runtimes);
        let expected = self.expected_logs.lock().unwrap();
        log_watch::assert_expected(&lines, &expected, self.has_rules.load(Ordering::Relaxed));
    }

    pub fn ledger(&self) -> Arc<Ledger> {
        self.simulator.ledger()
    }

    pub fn rule(&self, rule: Rule) {
        self.has_rules.store(true, Ordering::Relaxed);
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
