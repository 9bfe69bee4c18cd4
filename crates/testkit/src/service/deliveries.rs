//! Devices and notifications of a [`TestService`], and what became of them.

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{PATIENCE, POLL, TestService};
use crate::json::text;

impl TestService {
    /// Registers a device; answers its id.
    pub async fn device(&self, body: Value) -> String {
        let answer = self.put("/v1/devices", body).await;
        assert!(answer.status.is_success(), "{answer:?}");
        text(&answer.body["id"])
    }

    /// Hands in a notification that must be accepted; answers its id.
    pub async fn notify(&self, body: Value) -> String {
        let answer = self.post("/v1/notifications", body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        text(&answer.body["id"])
    }

    /// The notification's status, once all is decided.
    pub async fn done(&self, notification: &str) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.get(&format!("/v1/notifications/{notification}")).await.body;
            if status["status"] == "done" {
                return status;
            }
            assert!(Instant::now() < until, "not done: {status}");
            sleep(POLL).await;
        }
    }

    /// All deliveries as they are now.
    pub async fn deliveries(&self, notification: &str) -> Vec<Value> {
        let path = format!("/v1/notifications/{notification}/deliveries");
        let lines = self.get_as(&path, "application/x-ndjson").await;
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// All deliveries, once all is decided.
    pub async fn outcomes(&self, notification: &str) -> Vec<Value> {
        self.done(notification).await;
        self.deliveries(notification).await
    }

    /// The one delivery of a notification to one device, once it is decided.
    pub async fn outcome(&self, notification: &str) -> Value {
        let outcomes = self.outcomes(notification).await;
        assert_eq!(outcomes.len(), 1, "{outcomes:?}");
        outcomes[0].clone()
    }

    /// Sends to one token; answers the one delivery, once it is decided.
    pub async fn outcome_of(&self, platform: &str, token: &str, ttl: &str) -> Value {
        let to = json!({"tokens": [{"platform": platform, "token": token}]});
        let id = self.notify(json!({"to": to, "title": "Hi", "ttl": ttl})).await;
        self.outcome(&id).await
    }
}
