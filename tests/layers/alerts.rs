//! What the rules and the board in `deploy` must agree with: the runbook, and each other.

use std::fs;
use std::path::Path;

use super::documents;

/// Where the links of alerts lead, in front of the anchor.
const RUNBOOK_URL: &str = "http://localhost:9090/docs/runbook#";

/// Every alert without its case in which it fires, its case in which it does not, its section of the runbook, or the
/// link to it.
pub(crate) fn incomplete(root: &Path) -> (usize, Vec<String>) {
    let text = |path: &str| fs::read_to_string(root.join(path)).expect("the file is there");
    let cases = text("deploy/prometheus/alerts_test.yml");
    (
        names(&text("deploy/prometheus/alerts.yml")).len(),
        faults(&text("deploy/prometheus/alerts.yml"), &cases, &text("docs/runbook.md")),
    )
}

/// The names of the alerts, in order.
fn names(rules: &str) -> Vec<&str> {
    rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect()
}

fn faults(rules: &str, cases: &str, runbook: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let sections = documents::headings(runbook);
    for (name, rule) in names(rules).into_iter().zip(rules.split("- alert: ").skip(1)) {
        let anchor = kebab(name.strip_prefix("Pushpost").unwrap_or(name));
        let mut check = |holds: bool, what: &str| {
            if !holds {
                faults.push(format!("{name}: {what}"));
            }
        };
        let link = format!("runbook_url: {RUNBOOK_URL}{anchor}\n");
        check(name.starts_with("Pushpost"), "the name does not begin with Pushpost");
        check(rule.contains(&link), "the rule does not link to its section of the runbook");
        check(rule.contains("labels: {severity: "), "the rule has no severity");
        check(sections.contains(&anchor), "docs/runbook.md has no section for it");
        check(runbook.contains(&format!("\n`{name}`, ")), "its section does not name it");
        check(cases.contains(&format!("alertname: {name}\n")), "no case in which it fires");
        let quiet = format!("{{alertname: {name}, ");
        let is_quiet = |line: &str| line.contains(&quiet) && line.contains("exp_alerts: []");
        check(cases.lines().any(is_quiet), "no case in which it does not fire");
    }
    faults
}

/// `LateFast` as `late-fast`.
fn kebab(name: &str) -> String {
    let mut kebab = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.extend(letter.to_lowercase());
    }
    kebab
}

/// An alert of which everything is missing but its name.
pub(crate) fn faults_of_a_bare_alert() -> Vec<String> {
    faults("- alert: PushpostLateFast\n  expr: x\n", "", "# Runbook\n")
}
