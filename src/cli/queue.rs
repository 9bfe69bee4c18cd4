//! `pushpost queue`: what waits in each lane and whether the lane sends, and an operator's commands to lanes. Over HTTP.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::sleep;

use super::client::{ServiceArgs, ServiceClient};
use super::command_error::CommandError;
use super::output;

const LANES: &str = "/v1/admin/lanes";
/// Time between two tables of `--watch`. Nodes report their lanes every 3 s.
const WATCH_INTERVAL: Duration = Duration::from_secs(3);
/// Clears a terminal and moves its cursor to the top.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Show what waits in each lane, and pause, resume or retry a lane, over HTTP; exit code 2 if a lane is not running
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct QueueArgs {
    #[command(subcommand)]
    command: Option<QueueCommand>,
    /// Show the lanes again every 3 seconds, until interrupted
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// Print the answer as JSON, one lane per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    service: ServiceArgs,
}

#[derive(Subcommand, Debug)]
enum QueueCommand {
    Pause(Pause),
    Resume(Resume),
    Retry(Retry),
}

/// Stop a lane; once it is answered, no attempt begins any more
#[derive(Args, Debug)]
struct Pause {
    #[command(flatten)]
    lane: LaneArgs,
}

/// End a lane's pause, suspension and brake; devices that wait are tried at once
#[derive(Args, Debug)]
struct Resume {
    #[command(flatten)]
    lane: LaneArgs,
}

/// Make devices due that wait for another attempt, and try a lane that waits now
#[derive(Args, Debug)]
struct Retry {
    #[command(flatten)]
    lane: LaneArgs,
}

#[derive(Args, Debug)]
struct LaneArgs {
    /// The lane, such as fcm or shop/apns-production
    #[arg(value_name = "LANE", value_parser = lane_name)]
    lane: String,
    /// Print the lane as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    service: ServiceArgs,
}

/// What the table shows of a lane.
#[derive(Deserialize, Debug)]
struct ListedLane {
    lane: String,
    state: String,
    why: Option<String>,
    since: Option<String>,
    depth: u64,
    oldest_seconds: Option<f64>,
    in_flight: u64,
    rate: f64,
}

impl QueueArgs {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        match self.command {
            Some(QueueCommand::Pause(Pause { lane })) => lane.send("pause").await,
            Some(QueueCommand::Resume(Resume { lane })) => lane.send("resume").await,
            Some(QueueCommand::Retry(Retry { lane })) => lane.send("retry").await,
            None if self.watch => watch(&self.service.client()?).await,
            None => show(&self.service.client()?, self.json).await,
        }
    }
}

impl LaneArgs {
    /// Prints the lane as it is after the command. A lane that does not run is no bad news here.
    async fn send(self, command: &str) -> Result<(), CommandError> {
        let client = self.service.client()?;
        let answer = client.post(&format!("{LANES}/{}/{command}", self.lane), None).await?;
        if self.json {
            return Ok(output::line(&answer.to_string())?);
        }
        Ok(output::line(&table(&[read(answer)?]))?)
    }
}

/// Prints the lanes once. Every lane that does not run is named at the end.
async fn show(client: &ServiceClient, as_json: bool) -> Result<(), CommandError> {
    let items = items(client).await?;
    if as_json {
        for item in &items {
            output::line(&item.to_string())?;
        }
    }
    let lanes = items.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    if !as_json {
        output::line(&table(&lanes))?;
    }
    let stopped: Vec<_> = lanes.iter().filter(|lane| !lane.is_running()).map(ListedLane::in_words).collect();
    if stopped.is_empty() {
        return Ok(());
    }
    Err(CommandError::bad_news(stopped.join("; ")))
}

async fn watch(client: &ServiceClient) -> Result<(), CommandError> {
    let is_terminal = std::io::stdout().is_terminal();
    loop {
        let lanes = items(client).await?.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let clear = if is_terminal { CLEAR } else { "" };
        if !output::line_to_reader(&format!("{clear}{}", table(&lanes)))? {
            return Ok(());
        }
        sleep(WATCH_INTERVAL).await;
    }
}

async fn items(client: &ServiceClient) -> Result<Vec<Value>, CommandError> {
    match client.get(LANES).await?["items"].take() {
        Value::Array(items) => Ok(items),
        _ => Err(unreadable()),
    }
}

fn read(lane: Value) -> Result<ListedLane, CommandError> {
    serde_json::from_value(lane).map_err(|_| unreadable())
}

fn unreadable() -> CommandError {
    let failure = CommandError::failed("the answer of the service is no list of lanes");
    failure.hint("the service may be of another version than this program")
}

/// A lane's name, after which no further part of a path may follow.
fn lane_name(text: &str) -> Result<String, &'static str> {
    let is_name = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    if text.split('/').all(is_name) && text.split('/').count() <= 2 {
        return Ok(text.to_owned());
    }
    Err("a lane is written as fcm or shop/fcm")
}

fn table(lanes: &[ListedLane]) -> String {
    let rows: Vec<_> = lanes.iter().map(ListedLane::as_row).collect();
    output::table(["LANE", "STATE", "WAITING", "OLDEST", "RATE/S", "IN FLIGHT", "SINCE", "WHY"], &rows)
}

impl ListedLane {
    fn is_running(&self) -> bool {
        self.state == "running"
    }

    fn as_row(&self) -> [String; 8] {
        [
            self.lane.clone(),
            self.state.clone(),
            output::grouped(self.depth),
            self.oldest_seconds.map(output::age).unwrap_or_default(),
            format!("{:.1}", self.rate),
            output::grouped(self.in_flight),
            self.since.clone().unwrap_or_default(),
            self.why.clone().unwrap_or_default(),
        ]
    }

    fn in_words(&self) -> String {
        let why = self.why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        format!("lane {} is {}{why}", self.lane, self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_s_name_leads_to_no_other_path() {
        for name in ["fcm", "apns-production", "shop/fcm"] {
            assert!(lane_name(name).is_ok(), "{name}");
        }
        for name in ["", "/", "shop/", "a/b/c", "fcm?x", "fcm%2Fpause", "fcm pause", "../keys#"] {
            assert!(lane_name(name).is_err(), "{name}");
        }
    }
}
