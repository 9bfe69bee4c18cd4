//! The table at the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::check::Findings;
use crate::cli::output;

/// Differences shown; more are counted.
const SHOWN: usize = 20;

/// What each status means, in the order shown.
const STATUSES: [(&str, &str); 5] = [
    ("accepted", "the provider took it"),
    ("token_dead", "the provider calls the token dead (quarantined: known before it was sent)"),
    ("rejected", "refused for good"),
    ("expired", "out of order until its time to live was over"),
    ("unknown", "cut off before an answer, with no time left to ask again: nobody knows"),
];

/// Everything that came out, for people.
pub(super) fn table(findings: &Findings) -> String {
    let mut text = format!("\n{}\n\n{}\n\n", outcomes(findings), facts(findings));
    text.push_str(&verdict(findings));
    text
}

fn outcomes(findings: &Findings) -> String {
    let mut rows = Vec::new();
    let empty = BTreeMap::new();
    let known = STATUSES.iter().map(|(status, meaning)| (*status, *meaning));
    let is_other = |status: &&String| !STATUSES.iter().any(|(known, _)| known == status);
    let others =
        findings.outcomes.keys().filter(is_other).map(|status| (status.as_str(), "never expected here"));
    for (status, meaning) in known.chain(others) {
        let reasons = findings.outcomes.get(status).unwrap_or(&empty);
        let total: usize = reasons.values().sum();
        rows.push([status.to_owned(), right(total), meaning.to_owned()]);
        if status == "accepted" {
            let retried = format!("not at first: up to {} attempts", findings.most_attempts);
            rows.push(["  retried".to_owned(), right(findings.retried), retried]);
        }
        for (reason, count) in reasons.iter().filter(|(reason, _)| !reason.is_empty()) {
            rows.push([format!("  {reason}"), right(*count), String::new()]);
        }
    }
    rows.push([
        "all".to_owned(),
        right(findings.deliveries),
        "each in exactly one recorded outcome".to_owned(),
    ]);
    output::table(["OUTCOME", "DEVICES", ""], &rows)
}

fn facts(findings: &Findings) -> String {
    let rows = [
        [
            "accepted (202)",
            &grouped(findings.notifications as u64),
            "notifications, durable in Postgres before the answer",
        ],
        [
            "pruned",
            &grouped(findings.aside as u64),
            &format!(
                "devices set aside; {} kept, whose death was older than their registration",
                findings.kept
            ),
        ],
        [
            "duplicates",
            &grouped(findings.duplicates as u64),
            "resent with the same ids after a connection broke before the answer; a phone shows one banner",
        ],
        [
            "rate",
            &format!("{:.0}/s", findings.rate),
            "devices, from the first POST to the last first attempt",
        ],
        ["latency p50", &latency(findings, 50), "from the start of the POST to the arrival at APNs or FCM"],
        ["latency p95", &latency(findings, 95), ""],
        ["latency p99", &latency(findings, 99), ""],
    ];
    let rows = rows.map(|row| row.map(str::to_owned));
    output::table(["", "", ""], &rows).trim_start().to_owned()
}

fn verdict(findings: &Findings) -> String {
    let requests = grouped(findings.requests as u64);
    if findings.differences.is_empty() {
        return format!(
            "Checked against the stand-ins' own ledger of {requests} requests: every outcome agrees, nothing was lost."
        );
    }
    let count = findings.differences.len();
    let mut text =
        format!("Against the stand-ins' own ledger of {requests} requests, {count} things do not agree:\n");
    for difference in findings.differences.iter().take(SHOWN) {
        let _ = writeln!(text, "  {difference}");
    }
    text
}

fn latency(findings: &Findings, percent: usize) -> String {
    let last = findings.latencies.len().saturating_sub(1);
    let at = (findings.latencies.len() * percent / 100).min(last);
    findings.latencies.get(at).map_or_else(|| "–".to_owned(), |millis| format!("{millis} ms"))
}

fn right(number: usize) -> String {
    format!("{:>7}", grouped(number as u64))
}

/// A number with commas between its thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        let shown = [0, 12, 123, 1234, 123_456, 1_234_567].map(grouped);
        assert_eq!(shown, ["0", "12", "123", "1,234", "123,456", "1,234,567"]);
    }

    #[test]
    fn a_difference_is_shown_and_an_unknown_status_too() {
        let mut findings = Findings::default();
        findings.outcomes.entry("pending".to_owned()).or_default().insert(String::new(), 3);
        findings.differences.push("ntf_1 …abcdef: pending".to_owned());
        let text = table(&findings);
        assert!(text.contains("pending           3"), "{text}");
        assert!(text.contains("1 things do not agree:\n  ntf_1 …abcdef: pending"), "{text}");
    }
}
