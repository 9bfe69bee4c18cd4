//! The report at the end of the demo: a table of outcomes, figures, and whether both sides agree.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::check::CheckResult;
use crate::cli::output::{self, grouped};

/// Differences that are listed; the others are only counted.
const DIFFERENCES_MAX: usize = 20;

/// Each status with its meaning, in the order of the table.
const STATUSES: [(&str, &str); 5] = [
    ("accepted", "the provider took it"),
    ("token_dead", "the provider calls the token dead (quarantined: known before it was sent)"),
    ("rejected", "refused for good"),
    ("expired", "no attempt succeeded within the time to live"),
    ("unknown", "the connection ended before the answer, with no time left for another attempt"),
];

/// The whole report.
pub(super) fn text(result: &CheckResult) -> String {
    let mut text = format!("\n{}\n\n{}\n\n", outcomes(result), facts(result));
    text.push_str(&verdict(result));
    text
}

fn outcomes(result: &CheckResult) -> String {
    let mut rows = Vec::new();
    let empty = BTreeMap::new();
    let known = STATUSES.iter().map(|(status, meaning)| (*status, *meaning));
    let is_other = |status: &&String| !STATUSES.iter().any(|(known, _)| known == status);
    let others =
        result.outcomes.keys().filter(is_other).map(|status| (status.as_str(), "not expected in the demo"));
    for (status, meaning) in known.chain(others) {
        let reasons = result.outcomes.get(status).unwrap_or(&empty);
        let total: usize = reasons.values().sum();
        rows.push([status.to_owned(), right(total), meaning.to_owned()]);
        if status == "accepted" {
            let retried = format!("not at first: up to {} attempts", result.attempts_max);
            rows.push(["  retried".to_owned(), right(result.retried), retried]);
        }
        for (reason, count) in reasons.iter().filter(|(reason, _)| !reason.is_empty()) {
            rows.push([format!("  {reason}"), right(*count), String::new()]);
        }
    }
    rows.push([
        "all".to_owned(),
        right(result.deliveries),
        "each in exactly one recorded outcome".to_owned(),
    ]);
    output::table(["OUTCOME", "DEVICES", ""], &rows)
}

fn facts(result: &CheckResult) -> String {
    let rows = [
        [
            "accepted (202)",
            &grouped(result.notifications as u64),
            "notifications, durable in Postgres before the answer",
        ],
        [
            "pruned",
            &grouped(result.quarantined as u64),
            &format!(
                "devices in quarantine; {} kept, registered again after the reported time of death",
                result.kept
            ),
        ],
        [
            "duplicates",
            &grouped(result.duplicates as u64),
            "resent with the same ids after a connection broke before the answer; a phone shows one banner",
        ],
        ["rate", &format!("{:.0}/s", result.rate), "devices, from the first POST to the last first attempt"],
        ["latency p50", &latency(result, 50), "from the start of the POST to the arrival at APNs or FCM"],
        ["latency p95", &latency(result, 95), ""],
        ["latency p99", &latency(result, 99), ""],
    ];
    let rows = rows.map(|row| row.map(str::to_owned));
    output::table(["", "", ""], &rows).trim_start().to_owned()
}

fn verdict(result: &CheckResult) -> String {
    let requests = grouped(result.requests as u64);
    if result.differences.is_empty() {
        return format!(
            "Checked against the stand-ins' own ledger of {requests} requests: every outcome agrees, nothing was lost."
        );
    }
    let count = result.differences.len();
    let mut text =
        format!("Against the stand-ins' own ledger of {requests} requests, {count} things do not agree:\n");
    for difference in result.differences.iter().take(DIFFERENCES_MAX) {
        let _ = writeln!(text, "  {difference}");
    }
    text
}

fn latency(result: &CheckResult, percent: usize) -> String {
    let last = result.latencies_ms.len().saturating_sub(1);
    let at = (result.latencies_ms.len() * percent / 100).min(last);
    result.latencies_ms.get(at).map_or_else(|| "–".to_owned(), |millis| format!("{millis} ms"))
}

fn right(number: usize) -> String {
    format!("{:>7}", grouped(number as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_and_unknown_statuses_are_shown() {
        let mut result = CheckResult::default();
        result.outcomes.entry("pending".to_owned()).or_default().insert(String::new(), 3);
        result.differences.push("ntf_1 …abcdef: pending".to_owned());
        let text = super::text(&result);
        assert!(text.contains("pending           3"), "{text}");
        assert!(text.contains("1 things do not agree:\n  ntf_1 …abcdef: pending"), "{text}");
    }
}
