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
use super::signals::StopSignals;

const LANES: &str = "/v1/admin/lanes";
/// Time between two tables of `--watch`. Nodes report their lanes every 3 s, and what waits changes faster.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);
/// Clears a terminal, before the first table.
const CLEAR: &str = "\x1b[2J";
/// Moves the cursor to the top, so that a table overwrites the one before without flicker.
const TO_TOP: &str = "\x1b[H";
/// Clears what an earlier, longer line or table has left: the rest of the line, all that follows.
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_REST: &str = "\x1b[J";

/// Show what waits in each lane, and pause, resume or retry a lane, over HTTP; exit code 2 if a lane is not running
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct QueueArgs {
    #[command(subcommand)]
    command: Option<QueueCommand>,
    /// Show the lanes again every 2 seconds, until Ctrl-C: in place on a terminal, else one table after the other
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
    depth: Option<u64>,
    oldest_seconds: Option<f64>,
    estimated: bool,
    counted_seconds_ago: Option<f64>,
    in_flight: u64,
    rate: f64,
}

impl QueueArgs {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        match self.command {
            Some(QueueCommand::Pause(Pause { lane })) => lane.send("pause").await,
            Some(QueueCommand::Resume(Resume { lane })) => lane.send("resume").await,
            Some(QueueCommand::Retry(Retry { lane })) => lane.send("retry").await,
            None if self.watch => {
                let (client, mut signals) = (self.service.client()?, StopSignals::catch()?);
                tokio::select! {
                    watched = watch(&client) => watched,
                    () = signals.next() => Ok(()),
                }
            }
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
    let mut is_first = true;
    loop {
        let lanes = items(client).await?.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let table = table(&lanes);
        let shown = if is_terminal { in_place(&table, is_first) } else { format!("{table}\n") };
        if !output::line_to_reader(&shown)? {
            return Ok(());
        }
        is_first = false;
        sleep(WATCH_INTERVAL).await;
    }
}

/// The table with what draws it over the table before.
fn in_place(table: &str, is_first: bool) -> String {
    let lines = table.replace('\n', &format!("{CLEAR_LINE}\n"));
    let clear = if is_first { CLEAR } else { "" };
    format!("{clear}{TO_TOP}{lines}{CLEAR_REST}")
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
    output::table(
        ["LANE", "STATE", "WAITING", "OLDEST", "COUNTED", "RATE/S", "IN FLIGHT", "SINCE", "WHY"],
        &rows,
    )
}

impl ListedLane {
    fn is_running(&self) -> bool {
        self.state == "running"
    }

    fn as_row(&self) -> [String; 9] {
        [
            self.lane.clone(),
            self.state.clone(),
            self.depth.map(|depth| self.counted(depth)).unwrap_or_default(),
            self.oldest_seconds.map(output::age).unwrap_or_default(),
            self.counted_seconds_ago.map(|age| format!("{} ago", output::age(age))).unwrap_or_default(),
            format!("{:.1}", self.rate),
            output::grouped(self.in_flight),
            self.since.clone().unwrap_or_default(),
            self.why.clone().unwrap_or_default(),
        ]
    }

    /// The number of devices, with a mark if it is an estimate.
    fn counted(&self, depth: u64) -> String {
        format!("{}{}", if self.estimated { "~" } else { "" }, output::grouped(depth))
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
    fn a_table_is_drawn_over_the_one_before_and_leaves_nothing_of_it() {
        assert_eq!(in_place("A\nB", true), "\x1b[2J\x1b[HA\x1b[K\nB\x1b[J");
        assert_eq!(in_place("A", false), "\x1b[HA\x1b[J");
    }

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
