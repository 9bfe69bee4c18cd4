//! Bounds the tests of webhooks that are under way on this node, because each holds a request and a connection for up to 15 s.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::client::ATTEMPT_TIMEOUT;
use crate::domain::{AppId, WebhookId};

/// Tests of one app that are under way at most. Each webhook has one.
pub const TESTS_OF_APP_MAX: u32 = 4;

/// The tests that are under way.
#[derive(Debug, Default)]
pub struct TestPermits(Mutex<Vec<(AppId, WebhookId)>>);

/// Allows one test. Dropped, it allows the next one.
#[derive(Debug)]
pub struct TestPermit<'a> {
    permits: &'a TestPermits,
    test: (AppId, WebhookId),
}

/// Why a test may not begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TestRefused {
    /// A test of the same webhook is under way.
    Webhook,
    /// [`TESTS_OF_APP_MAX`] tests of the app are.
    App,
}

impl TestPermits {
    /// Permits a test.
    ///
    /// # Errors
    /// Others are under way.
    pub fn take(&self, app: AppId, webhook: WebhookId) -> Result<TestPermit<'_>, TestRefused> {
        let mut under_way = self.under_way();
        if under_way.contains(&(app, webhook)) {
            return Err(TestRefused::Webhook);
        }
        let of_app = under_way.iter().filter(|(of, _)| *of == app).count();
        if u32::try_from(of_app).is_ok_and(|of_app| of_app >= TESTS_OF_APP_MAX) {
            return Err(TestRefused::App);
        }
        under_way.push((app, webhook));
        Ok(TestPermit { permits: self, test: (app, webhook) })
    }

    fn under_way(&self) -> MutexGuard<'_, Vec<(AppId, WebhookId)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TestRefused {
    /// The time after which another test is allowed at the latest: every test has ended by then.
    pub const WAIT_MAX: Duration = ATTEMPT_TIMEOUT;
}

impl Drop for TestPermit<'_> {
    fn drop(&mut self) {
        self.permits.under_way().retain(|test| *test != self.test);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_has_one_test_and_an_app_four_until_they_end() {
        let (permits, [shop, other]) = (TestPermits::default(), [1, 2].map(AppId));
        let mut held: Vec<_> =
            (1..=4).map(|webhook| permits.take(shop, WebhookId(webhook)).expect("one is allowed")).collect();
        assert_eq!(permits.take(shop, WebhookId(1)).err(), Some(TestRefused::Webhook));
        assert_eq!(permits.take(shop, WebhookId(5)).err(), Some(TestRefused::App));
        assert!(permits.take(other, WebhookId(6)).is_ok(), "another app has tests of its own");
        held.remove(0);
        assert!(permits.take(shop, WebhookId(1)).is_ok());
        drop(held);
        assert!(permits.under_way().is_empty());
    }
}
