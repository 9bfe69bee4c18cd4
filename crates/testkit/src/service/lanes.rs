//! The lanes of a [`TestService`], as an operator sees and changes them.

use http::Method;
use pushpost::domain::{Environment, LaneKey};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::TestService;
use crate::json::of;
use crate::wait::{POLL_INTERVAL, WAIT_MAX};

/// Requests about lanes, with an operator's key; changes of their rows while there is no node with an API.
#[derive(Clone, Copy)]
pub struct Lanes<'a> {
    service: &'a TestService,
}

impl TestService {
    pub fn lanes(&self) -> Lanes<'_> {
        Lanes { service: self }
    }
}

impl Lanes<'_> {
    /// Pauses a lane.
    pub async fn pause(self, lane: LaneKey) {
        if self.service.has_api() {
            let answer = self.service.by_admin(Method::POST, &format!("/v1/admin/lanes/{lane}/pause")).await;
            assert_eq!((answer.status.as_u16(), &answer.body["state"]), (200, &json!("paused")));
            return;
        }
        self.change_row(lane, "paused_at = now()").await;
    }

    /// Ends a pause or a suspension.
    pub async fn resume(self, lane: LaneKey) {
        if self.service.has_api() {
            let answer = self.service.by_admin(Method::POST, &format!("/v1/admin/lanes/{lane}/resume")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            return;
        }
        self.change_row(
            lane,
            "paused_at = null, suspended_at = null, suspended_fingerprint = null, suspended_reason = null",
        )
        .await;
    }

    async fn change_row(self, lane: LaneKey, what: &str) {
        let (platform, environment) = (lane.platform().code(), Environment::code(lane.environment()));
        let changed = self
            .service
            .database
            .execute(&format!(
                "update lanes set {what} where platform = {platform} and environment = {environment}"
            ))
            .await;
        assert_eq!(changed, 1);
    }

    /// A lane as operators see it.
    pub async fn get(self, lane: LaneKey) -> Value {
        let lanes = self.service.by_admin(Method::GET, "/v1/admin/lanes").await.body;
        of(lanes["items"].as_array().unwrap(), "lane", &lane.to_string()).clone()
    }

    /// Waits until a lane has a state.
    pub async fn until_state(self, lane: LaneKey, state: &str) -> Value {
        self.until(lane, &json!({"state": state})).await
    }

    /// Waits until a lane has all these members; answers the whole lane.
    pub async fn until(self, lane: LaneKey, wanted: &Value) -> Value {
        let until = Instant::now() + WAIT_MAX;
        loop {
            let seen = self.get(lane).await;
            if wanted.as_object().unwrap().iter().all(|(name, value)| seen[name] == *value) {
                return seen;
            }
            assert!(Instant::now() < until, "not {wanted}: {seen}");
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Makes everything due that waits in a lane for another attempt.
    pub async fn retry(self, lane: LaneKey) {
        let answer = self.service.by_admin(Method::POST, &format!("/v1/admin/lanes/{lane}/retry")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}
