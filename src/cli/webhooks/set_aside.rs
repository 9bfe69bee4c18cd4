//! `pushpost webhooks set-aside` and `retry-event`: events that a receiver refused while it took later ones.

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::{WebhookArgs, read, unreadable};
use crate::cli::command_error::CommandError;
use crate::cli::output;

/// Show the events that the receiver refused while it took later ones, in the order of the log
///
/// They are sent again hourly for a day, then on command.
#[derive(Args, Debug)]
pub(super) struct SetAsideArgs {
    #[command(flatten)]
    webhook: WebhookArgs,
}

/// Send a set-aside event again now
#[derive(Args, Debug)]
pub(super) struct RetryEventArgs {
    #[command(flatten)]
    webhook: WebhookArgs,
    /// The event's id, as set-aside shows it
    #[arg(value_name = "EVT")]
    event: String,
}

/// What the table shows of a set-aside event.
#[derive(Deserialize, Debug)]
struct ShownEvent {
    event: String,
    at: String,
    attempts: u64,
    next_attempt_at: Option<String>,
    status: Option<u16>,
    error: Option<String>,
}

impl SetAsideArgs {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let (client, path) = self.webhook.find().await?;
        let mut rows = Vec::new();
        let mut cursor = String::new();
        loop {
            let mut page = client.get(&format!("{path}/set-aside?limit=1000{cursor}")).await?;
            let Value::Array(items) = page["items"].take() else { return Err(unreadable()) };
            if self.webhook.json {
                items.iter().try_for_each(|item| output::line(&item.to_string()))?;
            } else {
                let events = items.into_iter().map(read).collect::<Result<Vec<ShownEvent>, _>>()?;
                rows.extend(events.into_iter().map(ShownEvent::into_row));
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        if !self.webhook.json {
            let heads = ["EVENT", "SET ASIDE", "ATTEMPTS", "NEXT ATTEMPT", "STATUS", "ERROR"];
            output::line(&output::table(heads, &rows))?;
        }
        Ok(())
    }
}

impl RetryEventArgs {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        // An id consists of these, and the rest of a path must not come from it.
        if !self.event.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(CommandError::usage("an event's id begins with evt_ and has letters and digits"));
        }
        let (client, path) = self.webhook.find().await?;
        client.post(&format!("{path}/set-aside/{}/retry", self.event), None).await?;
        if !self.webhook.json {
            eprintln!("the event is due now; pushpost webhooks attempts shows what comes of it");
        }
        Ok(())
    }
}

impl ShownEvent {
    fn into_row(self) -> [String; 6] {
        [
            self.event,
            self.at,
            output::grouped(self.attempts),
            self.next_attempt_at.unwrap_or_else(|| "on command".to_owned()),
            self.status.map(|status| status.to_string()).unwrap_or_default(),
            self.error.unwrap_or_default(),
        ]
    }
}
