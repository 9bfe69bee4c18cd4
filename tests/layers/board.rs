//! What the board in `deploy/grafana` asks Prometheus: each query is one that Prometheus takes, about metrics that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// The variables of the board that stand for regular expressions.
const VARIABLES: &[&str] = &["$app", "$lane", "$node"];
/// What the series of a histogram have behind the name of the metric.
const SUFFIXES: &[&str] = &["_bucket", "_count", "_sum"];

/// The queries of all panels, as they are with every app, lane and node chosen.
pub(crate) fn queries(root: &Path) -> Vec<String> {
    let text = fs::read_to_string(root.join("deploy/grafana/pushpost.json")).expect("the board is there");
    let board: Value = serde_json::from_str(&text).expect("the board is JSON");
    let panels = board["panels"].as_array().expect("the board has panels").iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    let queries = targets.map(|target| target["expr"].as_str().expect("a target has a query"));
    let whole =
        |query: &str| VARIABLES.iter().fold(query.to_owned(), |query, name| query.replace(name, ".*"));
    queries.map(|query| whole(&query.replace("$__rate_interval", "5m"))).collect()
}

/// Takes each query as a recording rule. Answers what `promtool` says against them.
///
/// # Errors
/// `promtool` is not installed: `scripts/ensure-promtool` installs it.
pub(crate) fn refused(queries: &[String]) -> std::io::Result<Option<String>> {
    let rule =
        |(number, query): (usize, &String)| json!({"record": format!("board:{number}"), "expr": query});
    let rules: Vec<Value> = queries.iter().enumerate().map(rule).collect();
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("board.yml");
    // YAML takes JSON.
    fs::write(&path, json!({"groups": [{"name": "board", "rules": rules}]}).to_string())?;
    let output = Command::new("promtool").args(["check", "rules"]).arg(&path).output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((!output.status.success()).then(|| String::from_utf8_lossy(&said).into_owned()))
}

/// The metrics and recording rules that a text names and that are not among `known`.
pub(crate) fn unknown(text: &str, known: &BTreeSet<String>) -> BTreeSet<String> {
    let stem = |name: &str| SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).map(str::to_owned);
    let is_known =
        |name: &String| known.contains(name) || stem(name).is_some_and(|stem| known.contains(&stem));
    named(text).filter(|name| !is_known(name)).collect()
}

/// The metrics that `docs/metrics.md` lists, which a test compares with a running node, and the recording rules.
pub(crate) fn names(root: &Path) -> BTreeSet<String> {
    let text = |path: &str| fs::read_to_string(root.join(path)).expect("the file is there");
    let (metrics, rules) = (text("docs/metrics.md"), text("deploy/prometheus/alerts.yml"));
    let rows = metrics.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    let recorded = rules.lines().filter_map(|line| line.trim().strip_prefix("- record: "));
    rows.flat_map(named).chain(recorded.map(str::to_owned)).collect()
}

/// The words of a text that have the form of a metric of Pushpost, or of a recording rule.
fn named(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | ':')));
    let starts = ["pushpost_", "pushpost:", "process_"];
    words.filter(move |word| starts.iter().any(|start| word.starts_with(start))).map(str::to_owned)
}
