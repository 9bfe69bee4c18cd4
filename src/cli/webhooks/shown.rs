//! Webhooks and their attempts as tables show them.

use serde::Deserialize;

use crate::cli::output;
use crate::domain::printable;

/// What the table shows of a webhook.
#[derive(Deserialize, Debug)]
pub(super) struct ShownWebhook {
    pub(super) id: String,
    pub(super) name: String,
    source: String,
    pub(super) state: String,
    why: Option<String>,
    since: String,
    failing_since: Option<String>,
    lag_seconds: f64,
    next_attempt_at: Option<String>,
    set_aside: u64,
}

/// What the table shows of an attempt.
#[derive(Deserialize, Debug)]
pub(super) struct ShownAttempt {
    at: String,
    message: String,
    events: u64,
    attempt: u64,
    status: Option<u16>,
    error: Option<String>,
    elapsed_ms: u64,
    response: String,
}

pub(super) fn table(webhooks: &[ShownWebhook]) -> String {
    let rows: Vec<_> = webhooks.iter().map(ShownWebhook::as_row).collect();
    output::table(["NAME", "SOURCE", "STATE", "LAG", "SET ASIDE", "NEXT ATTEMPT", "SINCE", "WHY"], &rows)
}

impl ShownWebhook {
    fn as_row(&self) -> [String; 8] {
        [
            self.name.clone(),
            self.source.clone(),
            self.state.clone(),
            if self.lag_seconds > 0.0 { output::age(self.lag_seconds) } else { String::new() },
            output::grouped(self.set_aside),
            self.next_attempt_at.clone().unwrap_or_default(),
            self.since().to_owned(),
            self.why.clone().unwrap_or_default(),
        ]
    }

    /// The first failure of one that fails, though it was told to be failing with the third; else since when the state lasts.
    fn since(&self) -> &str {
        let first_failure = self.failing_since.as_deref().filter(|_| self.state == "failing");
        first_failure.unwrap_or(&self.since)
    }

    pub(super) fn in_words(&self) -> String {
        let why = self.why.as_ref().map(|why| format!(" ({})", printable(why).collect::<String>()));
        let why = why.unwrap_or_default();
        format!("webhook {} is {}{why}", self.name, self.state)
    }
}

impl ShownAttempt {
    pub(super) fn as_row(&self) -> [String; 8] {
        [
            self.at.clone(),
            self.message.clone(),
            output::grouped(self.events),
            output::grouped(self.attempt),
            self.status.map(|status| status.to_string()).unwrap_or_default(),
            output::grouped(self.elapsed_ms),
            self.error.clone().unwrap_or_default(),
            self.response.clone(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_failing_webhook_shows_its_first_failure_and_others_their_state() {
        let table_of = |state: &str, failing_since: Option<&str>| {
            let webhook = json!({
                "id": "whk_1", "name": "backend", "source": "config", "state": state, "why": "status 503\u{202e}",
                "since": "2026-12-01T09:00:00.000Z", "failing_since": failing_since, "lag_seconds": 0.0, "next_attempt_at": null,
                "set_aside": 0
            });
            table(&[serde_json::from_value(webhook).expect("a webhook")])
        };
        let first = "2026-12-01T08:00:00.000Z";
        let failing = table_of("failing", Some(first));
        assert!(
            failing.contains(first) && !failing.contains("T09:00:00") && failing.ends_with("status 503"),
            "{failing}"
        );
        for (state, failing_since) in
            [("active", None), ("active", Some(first)), ("paused", Some(first)), ("disabled", Some(first))]
        {
            let other = table_of(state, failing_since);
            assert!(other.contains("T09:00:00") && !other.contains(first), "{other}");
        }
    }
}
