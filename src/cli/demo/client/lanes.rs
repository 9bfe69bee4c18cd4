//! What the client asks about lanes, as a backend and as an operator.

use anyhow::Context as _;
use reqwest::Method;
use serde_json::Value;

use super::{ApiClient, SentNotification};

impl ApiClient {
    /// Whether some of the notification's devices wait for a lane in this state.
    ///
    /// # Errors
    /// The request failed or was refused.
    pub(in crate::cli::demo) async fn is_held(
        &self,
        sent: &SentNotification,
        state: &str,
    ) -> anyhow::Result<bool> {
        let held = self.held(&sent.id).await?;
        Ok(held.as_array().into_iter().flatten().any(|held| held["state"] == state))
    }

    /// The lanes that the notification's devices wait for, as the API shows them in `held`; null: there is none.
    ///
    /// # Errors
    /// The request failed or was refused.
    pub(in crate::cli::demo) async fn held(&self, notification: &str) -> anyhow::Result<Value> {
        let mut status: Value =
            self.ask(Method::GET, &format!("/v1/notifications/{notification}"), None).await?;
        Ok(status["held"].take())
    }

    /// The state of a lane of this name, as an operator sees it; none: there is no such lane.
    ///
    /// # Errors
    /// The request failed or was refused.
    pub(in crate::cli::demo) async fn lane_state(&self, lane: &str) -> anyhow::Result<Option<String>> {
        let lanes: Value = self.ask(Method::GET, "/v1/admin/lanes", None).await?;
        let found = lanes["items"].as_array().into_iter().flatten().find(|item| item["lane"] == lane);
        Ok(found.and_then(|item| item["state"].as_str()).map(str::to_owned))
    }

    /// Resumes a lane, as an operator does.
    ///
    /// # Errors
    /// There was no answer.
    pub(in crate::cli::demo) async fn resume(&self, lane: &str) -> anyhow::Result<()> {
        let url = format!("{}/v1/admin/lanes/{lane}/resume", self.url);
        // The status does not matter: a lane that was not resumed finds out by its next probe.
        self.http.post(url).bearer_auth(&self.key).send().await.context("POST …/resume")?;
        Ok(())
    }
}
