//! `pushpost webhooks`: where events are posted to and how that goes, an operator's commands, and a receiver for development. Over
//! HTTP but for `listen`.

mod listen;
mod rotate;
mod set_aside;
mod shown;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{ServiceArgs, ServiceClient};
use super::command_error::CommandError;
use super::output;
use crate::domain::printable;
use listen::ListenArgs;
use rotate::RotateArgs;
use set_aside::{RetryEventArgs, SetAsideArgs};
use shown::{ShownAttempt, ShownWebhook, table};

const WEBHOOKS: &str = "/v1/admin/webhooks";
/// Places of a replay's body, as its flags are called.
const REPLAY_FLAGS: &[(&str, &str)] = &[("#/from", "--from"), ("#/since", "--since")];
/// Attempts that are shown.
const ATTEMPTS: u16 = 50;

/// Show the webhooks, and test, pause, resume, retry, replay or rotate one, over HTTP; exit code 2 if a webhook is not active
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct WebhooksArgs {
    #[command(subcommand)]
    command: Option<WebhooksCommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Subcommand, Debug)]
enum WebhooksCommand {
    List(ListArgs),
    Attempts(AttemptsArgs),
    Test(TestArgs),
    Pause(PauseArgs),
    Resume(ResumeArgs),
    Retry(RetryArgs),
    Replay(ReplayArgs),
    SetAside(SetAsideArgs),
    RetryEvent(RetryEventArgs),
    Rotate(RotateArgs),
    Listen(ListenArgs),
}

/// Show the webhooks; exit code 2 if one is not active
#[derive(Args, Debug)]
struct ListArgs {
    /// Print the answer as JSON, one webhook per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    service: ServiceArgs,
}

/// Show the last attempts of a webhook, the latest first
#[derive(Args, Debug)]
struct AttemptsArgs {
    #[command(flatten)]
    webhook: WebhookArgs,
    /// Only attempts that failed
    #[arg(long)]
    failed: bool,
}

/// Send a message with one event webhook.test, and show what came of it; exit code 1 if the receiver did not take it
#[derive(Args, Debug)]
struct TestArgs {
    #[command(flatten)]
    webhook: WebhookArgs,
}

/// Stop a webhook after the message under way; its events wait in the log
#[derive(Args, Debug)]
struct PauseArgs {
    #[command(flatten)]
    webhook: WebhookArgs,
}

/// End a webhook's pause, or its state disabled; it goes on where it stopped
#[derive(Args, Debug)]
struct ResumeArgs {
    #[command(flatten)]
    webhook: WebhookArgs,
}

/// Send the message that failed again now
#[derive(Args, Debug)]
struct RetryArgs {
    #[command(flatten)]
    webhook: WebhookArgs,
}

/// Send events again, in their order and with their ids
#[derive(Args, Debug)]
struct ReplayArgs {
    #[command(flatten)]
    webhook: WebhookArgs,
    #[command(flatten)]
    start: ReplayStart,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct ReplayStart {
    /// The id of the first event that is sent again
    #[arg(long, value_name = "EVT")]
    from: Option<String>,
    /// Events that were logged at this time or later, such as 2026-12-01T09:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
}

#[derive(Args, Debug)]
struct WebhookArgs {
    /// The webhook's name, or its id
    #[arg(value_name = "NAME")]
    name: String,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    service: ServiceArgs,
}

impl WebhooksArgs {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        match self.command {
            None => self.list.run().await,
            Some(WebhooksCommand::List(list)) => list.run().await,
            Some(WebhooksCommand::Attempts(AttemptsArgs { webhook, failed })) => {
                webhook.attempts(failed).await
            }
            Some(WebhooksCommand::Test(TestArgs { webhook })) => webhook.test().await,
            Some(WebhooksCommand::Pause(PauseArgs { webhook })) => webhook.send("pause", None).await,
            Some(WebhooksCommand::Resume(ResumeArgs { webhook })) => webhook.send("resume", None).await,
            Some(WebhooksCommand::Retry(RetryArgs { webhook })) => webhook.send("retry", None).await,
            Some(WebhooksCommand::Replay(ReplayArgs { webhook, start })) => {
                let body = match start.from {
                    Some(from) => json!({"from": from}),
                    None => json!({"since": start.since}),
                };
                webhook.send("replay", Some(body)).await
            }
            Some(WebhooksCommand::SetAside(set_aside)) => set_aside.run().await,
            Some(WebhooksCommand::RetryEvent(event)) => event.run().await,
            Some(WebhooksCommand::Rotate(rotate)) => rotate.run().await,
            Some(WebhooksCommand::Listen(listen)) => listen.run().await,
        }
    }
}

impl ListArgs {
    /// Prints the webhooks. Every one that is not active is named at the end.
    async fn run(self) -> Result<(), CommandError> {
        let items = items(&self.service.client()?).await?;
        if self.json {
            items.iter().try_for_each(|item| output::line(&item.to_string()))?;
        }
        let webhooks = items.into_iter().map(read).collect::<Result<Vec<ShownWebhook>, _>>()?;
        if !self.json {
            output::line(&table(&webhooks))?;
        }
        let stopped: Vec<_> =
            webhooks.iter().filter(|webhook| webhook.state != "active").map(ShownWebhook::in_words).collect();
        if stopped.is_empty() { Ok(()) } else { Err(CommandError::bad_news(stopped.join("; "))) }
    }
}

impl WebhookArgs {
    /// The client, and the path of the webhook with this name or id.
    async fn find(&self) -> Result<(ServiceClient, String), CommandError> {
        let client = self.service.client()?;
        let webhooks =
            items(&client).await?.into_iter().map(read).collect::<Result<Vec<ShownWebhook>, _>>()?;
        let found = webhooks.iter().find(|webhook| webhook.name == self.name || webhook.id == self.name);
        let Some(found) = found else {
            let names: Vec<_> = webhooks.iter().map(|webhook| webhook.name.as_str()).collect();
            let known = if names.is_empty() { "the app has none".to_owned() } else { names.join(", ") };
            let failure = CommandError::failed(format!("there is no webhook {:?}", self.name));
            return Err(failure.hint(format!("known: {known}")));
        };
        let path = format!("{WEBHOOKS}/{}", found.id);
        Ok((client, path))
    }

    /// Prints the webhook as it is after the command. One that is not active is no bad news here.
    async fn send(self, command: &str, body: Option<Value>) -> Result<(), CommandError> {
        let (client, path) = self.find().await?;
        let answer = client.post(&format!("{path}/{command}"), body.as_ref()).await;
        let answer = answer.map_err(|error| error.reworded(REPLAY_FLAGS))?;
        if self.json {
            return Ok(output::line(&answer.to_string())?);
        }
        Ok(output::line(&table(&[read(answer)?]))?)
    }

    async fn test(self) -> Result<(), CommandError> {
        let (client, path) = self.find().await?;
        let answer = client.post(&format!("{path}/test"), None).await?;
        if self.json {
            output::line(&answer.to_string())?;
        }
        let text = |name: &str| printable(answer[name].as_str().unwrap_or_default()).collect::<String>();
        if !self.json {
            let status =
                answer["status"].as_u64().map_or_else(|| "none".to_owned(), |status| status.to_string());
            let response = text("response");
            let response = if response.is_empty() { response } else { format!(": {response}") };
            output::line(&format!("status {status}, {} ms{response}", answer["elapsed_ms"]))?;
        }
        match answer["error"].is_null() {
            true => Ok(()),
            false => {
                Err(CommandError::failed(format!("the receiver did not take the test: {}", text("error"))))
            }
        }
    }

    async fn attempts(self, only_failed: bool) -> Result<(), CommandError> {
        let (client, path) = self.find().await?;
        let filter = if only_failed { "&result=failed" } else { "" };
        let mut answer = client.get(&format!("{path}/attempts?limit={ATTEMPTS}{filter}")).await?;
        let Value::Array(items) = answer["items"].take() else { return Err(unreadable()) };
        if self.json {
            return items.iter().try_for_each(|item| output::line(&item.to_string())).map_err(Into::into);
        }
        let attempts = items.into_iter().map(read).collect::<Result<Vec<ShownAttempt>, _>>()?;
        let rows: Vec<_> = attempts.iter().map(ShownAttempt::as_row).collect();
        let heads = ["AT", "MESSAGE", "EVENTS", "ATTEMPT", "STATUS", "MS", "ERROR", "RESPONSE"];
        Ok(output::line(&output::table(heads, &rows))?)
    }
}

async fn items(client: &ServiceClient) -> Result<Vec<Value>, CommandError> {
    match client.get(WEBHOOKS).await?["items"].take() {
        Value::Array(items) => Ok(items),
        _ => Err(unreadable()),
    }
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, CommandError> {
    serde_json::from_value(value).map_err(|_| unreadable())
}

fn unreadable() -> CommandError {
    let failure = CommandError::failed("the answer of the service is no list of webhooks");
    failure.hint("the service may be of another version than this program")
}
