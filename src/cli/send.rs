//! `pushpost send`: one push from the shell, over HTTP, and what became of it.

use std::io::Read as _;
use std::time::Duration;

use anyhow::Context as _;
use clap::{ArgGroup, Args};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use super::client::{ServiceArgs, ServiceClient};
use super::command_error::CommandError;
use super::{output, progress, why};

const NOTIFICATIONS: &str = "/v1/notifications";
/// The first pause between two looks at the notification. It doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Devices that are printed.
const LISTED_MAX: usize = 1_000;
/// The longest token from stdin: more than the longest of any provider.
const TOKEN_BYTES_MAX: u64 = 16 << 10;

/// Send one push over HTTP, wait for its outcome, and print it and what its time went to; exit code 2 if it was accepted for no device
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("audience").required(true), group = ArgGroup::new("text").required(true).multiple(true))]
pub(super) struct SendArgs {
    /// A name to tell apps apart by in scripts; the key names the app, so this is not sent
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// To the device with this token; - reads it from stdin, because others on this machine can read arguments
    #[arg(long, value_name = "T", group = "audience", requires = "platform")]
    token: Option<String>,
    /// The service that issued the token: apns or fcm
    #[arg(long, value_name = "P", requires = "token")]
    platform: Option<String>,
    /// The token's environment, of APNs: production or sandbox
    #[arg(long, value_name = "E", requires = "token")]
    environment: Option<String>,
    /// To the devices of this user
    #[arg(long, value_name = "U", group = "audience")]
    user: Option<String>,
    /// To the devices with this topic
    #[arg(long, value_name = "T", group = "audience")]
    topic: Option<String>,
    /// The title that people see
    #[arg(long, value_name = "TEXT", group = "text")]
    title: Option<String>,
    /// The text that people see
    #[arg(long, value_name = "TEXT", group = "text")]
    body: Option<String>,
    /// How long it may be tried, such as 1h; without it as long as the service says
    #[arg(long, value_name = "DURATION")]
    ttl: Option<String>,
    /// Its place in the queue: high, normal or low
    #[arg(long, value_name = "PRIORITY")]
    priority: Option<String>,
    /// End once the service has stored it, without waiting for the outcome
    #[arg(long)]
    no_wait: bool,
    /// Print the notification with its first 1,000 deliveries and what made the last one late, as JSON; with --no-wait the service's answer
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    service: ServiceArgs,
}

/// What is read of a notification.
#[derive(Deserialize)]
struct Notification {
    status: String,
    counts: Counts,
    #[serde(default)]
    held: Vec<Hold>,
}

#[derive(Deserialize)]
struct Counts {
    targets: u64,
    pending: u64,
    accepted: u64,
}

#[derive(Deserialize)]
struct Hold {
    lane: Option<String>,
    state: String,
    why: String,
}

/// What is printed of a delivery.
#[derive(Deserialize)]
struct Delivery {
    device: Option<String>,
    platform: Option<String>,
    status: String,
    attempts: u16,
    reason: Option<String>,
}

impl SendArgs {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let client = self.service.client()?;
        let accepted = client.post(NOTIFICATIONS, Some(&self.request()?)).await?;
        let id = accepted["id"].as_str().ok_or_else(unreadable)?;
        let path = format!("{NOTIFICATIONS}/{id}");
        if self.no_wait {
            let text = if self.json { accepted.to_string() } else { id.to_owned() };
            return Ok(output::line(&text)?);
        }
        if !self.json {
            eprintln!("{id} is stored");
        }
        let (answer, notification) = until_done(&client, &path).await?;
        let deliveries = client.get(&format!("{path}/deliveries?limit={LISTED_MAX}")).await?["items"].take();
        // A service of another version may not say it; the outcome counts all the same.
        let why = why::ask(&client, id, None).await.unwrap_or_default();
        if self.json {
            output::line(&with_details(answer, deliveries, why).to_string())?;
        } else {
            let deliveries: Vec<Delivery> = serde_json::from_value(deliveries).map_err(|_| unreadable())?;
            output::line(&table(&deliveries))?;
            if let Some(note) = notification.not_listed(deliveries.len()) {
                eprintln!("{note}");
            }
            if let Ok(text) = why::as_text(&why) {
                output::line(&text)?;
            }
        }
        notification.judge()
    }

    fn request(&self) -> Result<Value, CommandError> {
        let to = match (&self.token, &self.user, &self.topic) {
            (Some(token), ..) => {
                let mut target = Map::new();
                target.insert("token".to_owned(), read_token(token)?.into());
                put(&mut target, "platform", self.platform.as_ref());
                put(&mut target, "environment", self.environment.as_ref());
                json!({"tokens": [target]})
            }
            (_, Some(user), _) => json!({"users": [user]}),
            (_, _, Some(topic)) => json!({"topics": [topic]}),
            (None, None, None) => return Err(CommandError::usage("--token, --user or --topic is missing")),
        };
        let mut request = Map::new();
        request.insert("to".to_owned(), to);
        for (name, value) in
            [("title", &self.title), ("body", &self.body), ("ttl", &self.ttl), ("priority", &self.priority)]
        {
            put(&mut request, name, value.as_ref());
        }
        Ok(request.into())
    }
}

fn put(object: &mut Map<String, Value>, name: &str, value: Option<&String>) {
    if let Some(value) = value {
        object.insert(name.to_owned(), value.as_str().into());
    }
}

fn read_token(argument: &str) -> Result<String, CommandError> {
    if argument != "-" {
        return Ok(argument.to_owned());
    }
    let mut text = String::new();
    let read = std::io::stdin().lock().take(TOKEN_BYTES_MAX).read_to_string(&mut text);
    read.context("cannot read the token from stdin")?;
    match text.trim() {
        "" => Err(CommandError::usage("there is no token on stdin")),
        token => Ok(token.to_owned()),
    }
}

/// Looks at the notification until every device has its outcome, however long that takes. A terminal shows what is waited for.
async fn until_done(client: &ServiceClient, path: &str) -> Result<(Value, Notification), CommandError> {
    let bar = progress::bar(None, true);
    let mut pause = PAUSE_MIN;
    loop {
        let answer = client.get(path).await?;
        let notification = Notification::deserialize(&answer).map_err(|_| unreadable())?;
        if notification.is_done() {
            bar.finish_and_clear();
            return Ok((answer, notification));
        }
        bar.set_message(notification.waits_for());
        sleep(pause).await;
        pause = (2 * pause).min(PAUSE_MAX);
    }
}

impl Notification {
    fn is_done(&self) -> bool {
        matches!(self.status.as_str(), "done" | "cancelled") && self.counts.pending == 0
    }

    /// What the table does not say of a notification for many devices.
    fn not_listed(&self, listed: usize) -> Option<String> {
        let (targets, listed) = (self.counts.targets, listed as u64);
        let grouped = output::grouped;
        (listed < targets)
            .then(|| format!("these are {} of {} deliveries", grouped(listed), grouped(targets)))
    }

    fn waits_for(&self) -> String {
        let held = self.held.iter().map(|hold| {
            let lane = hold.lane.as_deref().unwrap_or("a lane that is gone");
            format!(", {lane} is {} ({})", hold.state, hold.why)
        });
        let held: String = held.collect();
        format!("{} of {} devices pending{held}", self.counts.pending, self.counts.targets)
    }

    /// Says on stderr if the push was accepted for a part of the devices only.
    ///
    /// # Errors
    /// No provider accepted the push for a device, or there is no device.
    fn judge(&self) -> Result<(), CommandError> {
        const HINT: &str = "docs/reasons.md says what each reason means";
        let Counts { targets, accepted, .. } = self.counts;
        if targets == 0 {
            return Err(CommandError::bad_news("no device was found"));
        }
        if accepted == targets {
            return Ok(());
        }
        let part = format!("{accepted} of {targets} deliveries were accepted");
        if accepted == 0 {
            return Err(CommandError::bad_news(part).hint(HINT));
        }
        eprintln!("{part}\nhint: {HINT}");
        Ok(())
    }
}

fn with_details(mut answer: Value, deliveries: Value, why: Value) -> Value {
    answer["deliveries"] = deliveries;
    answer["why"] = why;
    answer
}

fn table(deliveries: &[Delivery]) -> String {
    let row = |delivery: &Delivery| {
        [
            delivery.device.clone().unwrap_or_default(),
            delivery.platform.clone().unwrap_or_default(),
            delivery.status.clone(),
            delivery.attempts.to_string(),
            delivery.reason.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = deliveries.iter().map(row).collect();
    output::table(["DEVICE", "PLATFORM", "STATUS", "ATTEMPTS", "REASON"], &rows)
}

fn unreadable() -> CommandError {
    let failure = CommandError::failed("the answer of the service is no notification");
    failure.hint("the service may be of another version than this program")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_not_whole_says_so() {
        let of = |targets: u64| {
            let counts = json!({"targets": targets, "pending": 0, "accepted": targets});
            Notification::deserialize(json!({"status": "done", "counts": counts})).expect("a notification")
        };
        assert_eq!(of(1_000).not_listed(1_000), None);
        assert_eq!(of(1_668).not_listed(1_000).as_deref(), Some("these are 1,000 of 1,668 deliveries"));
    }
}
