//! `pushpost nodes`: the nodes of the installation, and which of them leads. Over HTTP.

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::client::ServiceArgs;
use super::command_error::CommandError;
use super::output;

const NODES: &str = "/v1/admin/nodes";

/// Show the nodes, over HTTP; exit code 2 if a node is dead
///
/// A dead node is shown for a day, or until a node starts on its host. A node that was shut down is not shown.
#[derive(Args, Debug)]
pub(super) struct NodesArgs {
    /// Print the answer as JSON, one node per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    service: ServiceArgs,
}

/// What the table shows of a node.
#[derive(Deserialize, Debug)]
struct ShownNode {
    node: i64,
    name: String,
    version: String,
    role: String,
    started_at: String,
    heartbeat_age_seconds: f64,
    leader: bool,
    draining: bool,
    dead_at: Option<String>,
}

impl NodesArgs {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        let Value::Array(items) = self.service.client()?.get(NODES).await?["items"].take() else {
            return Err(unreadable());
        };
        if self.json {
            items.iter().try_for_each(|item| output::line(&item.to_string()))?;
        }
        let nodes: Vec<ShownNode> = serde_json::from_value(Value::Array(items)).map_err(|_| unreadable())?;
        if !self.json {
            output::line(&table(&nodes))?;
        }
        let dead: Vec<_> = nodes.iter().filter_map(ShownNode::death).collect();
        if dead.is_empty() {
            return Ok(());
        }
        let hint = "other nodes have its work; the log of its host says why it ended";
        Err(CommandError::bad_news(dead.join("; ")).hint(hint))
    }
}

impl ShownNode {
    fn death(&self) -> Option<String> {
        let at = self.dead_at.as_ref()?;
        Some(format!("node {} ({}) is dead since {at}", self.node, self.name))
    }

    fn state(&self) -> &'static str {
        match (&self.dead_at, self.draining) {
            (Some(_), _) => "dead",
            (None, true) => "draining",
            (None, false) => "alive",
        }
    }

    fn as_row(&self) -> [String; 8] {
        [
            self.node.to_string(),
            self.name.clone(),
            self.version.clone(),
            self.role.clone(),
            self.state().to_owned(),
            if self.leader { "yes" } else { "" }.to_owned(),
            output::age(self.heartbeat_age_seconds),
            self.started_at.clone(),
        ]
    }
}

fn table(nodes: &[ShownNode]) -> String {
    let rows: Vec<_> = nodes.iter().map(ShownNode::as_row).collect();
    output::table(["NODE", "NAME", "VERSION", "ROLE", "STATE", "LEADER", "HEARTBEAT", "STARTED"], &rows)
}

fn unreadable() -> CommandError {
    let failure = CommandError::failed("the answer of the service is no list of nodes");
    failure.hint("the service may be of another version than this program")
}
