//! The lanes of a [`TestService`]: paused, resumed, and watched as an operator does.

use http::Method;
use pushpost::domain::{Environment, LaneKey};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{PATIENCE, POLL, TestService};
use crate::json::of;

impl TestService {
    /// As an operator does; without a node, as one had done.
    pub async fn pause(&self, lane: LaneKey) {
        if self.has_api() {
            let answer = self.by_admin(Method::POST, &format!("/v1/admin/lanes/{lane}/pause")).await;
            assert_eq!((answer.status.as_u16(), &answer.body["state"]), (200, &json!("paused")));
            return;
        }
        self.set_lane(lane, "paused_at = now()").await;
    }

    /// As an operator does; without a node, as one had done.
    pub async fn resume(&self, lane: LaneKey) {
        if self.has_api() {
            let answer = self.by_admin(Method::POST, &format!("/v1/admin/lanes/{lane}/resume")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            return;
        }
        self.set_lane(
            lane,
            "paused_at = null, suspended_at = null, suspended_fingerprint = null, suspended_reason = null",
        )
        .await;
    }

    async fn set_lane(&self, lane: LaneKey, what: &str) {
        let (platform, environment) = match lane {
            LaneKey::Apns(Environment::Production) => (1, 1),
            LaneKey::Apns(Environment::Sandbox) => (1, 2),
            LaneKey::Fcm => (2, 0),
        };
        let changed = self
            .execute(&format!(
                "update lanes set {what} where platform = {platform} and environment = {environment}"
            ))
            .await;
        assert_eq!(changed, 1);
    }

    /// A lane as operators see it.
    pub async fn lane(&self, lane: LaneKey) -> Value {
        let lanes = self.by_admin(Method::GET, "/v1/admin/lanes").await.body;
        of(lanes["items"].as_array().unwrap(), "lane", &lane.to_string()).clone()
    }

    /// Waits until operators see a lane in a state.
    pub async fn until_lane(&self, lane: LaneKey, state: &str) -> Value {
        self.until_lane_has(lane, &json!({"state": state})).await
    }

    /// Waits until operators see all this of a lane; answers all that they see then.
    pub async fn until_lane_has(&self, lane: LaneKey, wanted: &Value) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let seen = self.lane(lane).await;
            if wanted.as_object().unwrap().iter().all(|(name, value)| seen[name] == *value) {
                return seen;
            }
            assert!(Instant::now() < until, "not {wanted}: {seen}");
            sleep(POLL).await;
        }
    }

    /// Makes all that waits in a lane for another attempt due, as an operator does.
    pub async fn hasten(&self, lane: LaneKey) {
        let answer = self.by_admin(Method::POST, &format!("/v1/admin/lanes/{lane}/retry")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}
