//! This machine: its clock and its limit of open files.

use std::time::SystemTime;

use chrono::{DateTime, Utc};

use super::findings::{Finding, Findings};
use crate::cli::command_error::CommandError;
use crate::config::Config;
use crate::runtime;

/// A clock that is wrong by more than this is a warning.
const OFFSET_MAX_SECONDS: f64 = 2.0;

/// This machine's clock.
#[expect(clippy::disallowed_methods, reason = "doctor compares this very clock with Postgres's")]
pub(super) fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

/// Checks whether the limit of open files is enough for the connections of the configuration.
pub(super) fn check_descriptors(config: &Config, findings: &mut Findings) -> Result<(), CommandError> {
    let runtime::DescriptorNeed { limit, needed } = runtime::descriptor_need(config);
    let shown = limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    let message = format!("open files: {shown} allowed to this shell, {needed} needed besides clients");
    findings.add(match limit {
        Some(limit) if limit < needed => Finding::fail("limits", message).hint(
            "raise the limit of the service (ulimit -n, LimitNOFILE in systemd, --ulimit nofile in Docker)",
        ),
        Some(limit) if limit < 2 * needed => Finding::warn("limits", message)
            .hint("few clients can be connected at a time; raise the limit (ulimit -n, LimitNOFILE)"),
        _ => Finding::ok("limits", message),
    })
}

/// Compares the clocks. `before` and `after` are this machine's around the reading of Postgres's.
pub(super) fn compare_clocks(
    before: DateTime<Utc>,
    postgres: DateTime<Utc>,
    after: DateTime<Utc>,
) -> Finding {
    let middle = before + (after - before) / 2;
    let offset = (middle - postgres).as_seconds_f64();
    // The reading is exact to half of the time that it took.
    let error = (after - before).as_seconds_f64() / 2.0;
    let message = format!("this machine's clock differs from Postgres's by {offset:+.3} s (±{error:.3} s)");
    match offset.abs() - error > OFFSET_MAX_SECONDS {
        true => Finding::warn("clock", message).hint(
            "synchronise both by NTP; pushpost works by Postgres's clock, and providers refuse tokens of a wrong time; this \
             machine's clock dates its log and judges certificates",
        ),
        false => Finding::ok("clock", message),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn a_clock_is_wrong_only_beyond_what_the_reading_allows() {
        let at = |seconds| DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        let verdict =
            |before, postgres, after| format!("{:?}", compare_clocks(at(before), at(postgres), at(after)));
        assert!(verdict(10, 10, 10).contains("Ok"));
        assert!(verdict(10, 7, 10).contains("Warn"));
        assert!(verdict(10, 13, 10).contains("Warn"));
        assert!(verdict(10, 13, 12).contains("Ok"), "exact to a second only");
    }
}
