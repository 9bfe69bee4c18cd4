//! Notifications of a [`TestService`], and what became of them.

use http::Method;
use serde_json::{Value, json};

use super::TestService;
use crate::json::text;
use crate::wait::until_some;

/// Requests about notifications, with a backend's key.
#[derive(Clone, Copy)]
pub struct Notifications<'a> {
    service: &'a TestService,
}

impl TestService {
    pub fn notifications(&self) -> Notifications<'_> {
        Notifications { service: self }
    }
}

impl Notifications<'_> {
    /// Sends a notification, which must be accepted; answers its id.
    pub async fn send(self, body: Value) -> String {
        let answer = self.service.post("/v1/notifications", body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        text(&answer.body["id"])
    }

    /// Sends to one token; answers the one delivery, once its outcome is final.
    pub async fn send_to_token(self, platform: &str, token: &str, ttl: &str) -> Value {
        let to = json!({"tokens": [{"platform": platform, "token": token}]});
        let id = self.send(json!({"to": to, "title": "Hi", "ttl": ttl})).await;
        self.outcome(&id).await
    }

    /// The status, once every outcome is final.
    pub async fn until_done(self, id: &str) -> Value {
        let path = format!("/v1/notifications/{id}");
        let look = async || {
            let status = self.service.ask_as_backend(Method::GET, &path).await.body;
            (status["status"] == "done").then_some(status)
        };
        until_some("the notification is done", look).await
    }

    /// All deliveries as they are now.
    pub async fn deliveries(self, id: &str) -> Vec<Value> {
        let path = format!("/v1/notifications/{id}/deliveries");
        let lines = self.service.get_as(&path, "application/x-ndjson").await;
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// All deliveries, once every outcome is final.
    pub async fn outcomes(self, id: &str) -> Vec<Value> {
        self.until_done(id).await;
        self.deliveries(id).await
    }

    /// The delivery of a notification to one device, once its outcome is final.
    pub async fn outcome(self, id: &str) -> Value {
        let outcomes = self.outcomes(id).await;
        assert_eq!(outcomes.len(), 1, "{outcomes:?}");
        outcomes[0].clone()
    }
}
