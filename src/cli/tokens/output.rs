//! What the commands print of runs.

use chrono::{DateTime, SecondsFormat, Utc};
use indicatif::ProgressBar;

use crate::api::admin::cleanups::json;
use crate::cli::command_error::CommandError;
use crate::cli::output::{grouped, line};
use crate::cli::progress::bar_of_parts;
use crate::domain::{CleanupProblem, CleanupStatus, InstallationKey};
use crate::store::cleanups::CleanupRun;

/// Parts of a progress bar.
const PARTS: u64 = 1_000;

/// Prints the runs of an app.
pub(super) struct RunOutput {
    pub(super) app: String,
    pub(super) key: InstallationKey,
}

impl RunOutput {
    /// The public id.
    pub(super) fn id(&self, run: &CleanupRun) -> String {
        self.key.cleanup_run_id(run.app, run.id)
    }

    /// Prints a run on stdout, as JSON or for people.
    pub(super) fn print(&self, run: &CleanupRun, as_json: bool) -> anyhow::Result<()> {
        line(&if as_json { json(&self.key, run) } else { self.text(run) })
    }

    /// The row of a table.
    pub(super) fn row(&self, run: &CleanupRun) -> [String; 8] {
        let dry = if run.is_dry_run { " (dry)" } else { "" };
        [
            self.id(run),
            self.app.clone(),
            format!("{}{dry}", run.status),
            seconds(run.created_at),
            number(run.counts.matched),
            number(run.quarantined),
            number(run.restored),
            run.schedule.clone().unwrap_or_default(),
        ]
    }

    fn text(&self, run: &CleanupRun) -> String {
        let dry = if run.is_dry_run { ", a dry run" } else { "" };
        let by = run.schedule.as_ref().map(|name| format!(" by the schedule {name}")).unwrap_or_default();
        let mut lines = vec![
            format!("{} of {}{dry}: {}", self.id(run), self.app, run.status),
            format!("started {}{by}", seconds(run.created_at)),
            criteria(run),
            format!(
                "{} active devices in question, {} match, {} quarantined, {} restored",
                number(run.counts.scanned),
                number(run.counts.matched),
                number(run.quarantined),
                number(run.restored)
            ),
        ];
        lines.extend(run.done_at.map(|at| format!("ended {}", seconds(at))));
        lines.extend(problem(run));
        let sample: Vec<_> = run.sample.iter().take(5).map(|id| self.key.device_id(run.app, *id)).collect();
        if !sample.is_empty() {
            lines.push(format!("the first that match: {}", sample.join(", ")));
        }
        lines.join("\n")
    }
}

fn criteria(run: &CleanupRun) -> String {
    let criteria = &run.criteria;
    let mut parts = vec![format!("inactive for {} days", criteria.inactive_days)];
    let platforms = criteria.platforms.iter().flatten().map(|platform| platform.as_str());
    let environments = criteria.environments.iter().flatten().map(|environment| environment.as_str());
    parts.extend(platforms.chain(environments).map(str::to_owned));
    let version = criteria.app_version_below.as_ref();
    parts.extend(version.map(|version| format!("app version below {}", version.as_str())));
    parts.push(format!("at most {}", percent(criteria.max_share.as_fraction())));
    parts.join(", ")
}

fn problem(run: &CleanupRun) -> Option<String> {
    let CleanupProblem::ShareExceeded = run.problem?;
    let (share, limit) = (percent(run.counts.share()), percent(run.criteria.max_share.as_fraction()));
    Some(format!(
        "that would be {share} of the active devices, with what runs of the last 30 days quarantined; {limit} are allowed"
    ))
}

/// The error of a run that did not do what was asked for.
pub(super) fn failure(run: &CleanupRun) -> Option<CommandError> {
    match run.status {
        CleanupStatus::Failed => {
            let failure =
                CommandError::bad_news("too large a share of the devices matches; nothing was changed");
            Some(failure.hint("if the number is right, repeat it with a larger --max-share"))
        }
        CleanupStatus::Cancelled => {
            let failure = CommandError::bad_news("the run was stopped before its end");
            Some(failure.hint("pushpost tokens restore undoes what it did"))
        }
        _ => None,
    }
}

/// The error of a restoration that did not come to its end.
pub(super) fn restoration_failure(run: &CleanupRun) -> Option<CommandError> {
    (run.status != CleanupStatus::Restored).then(|| {
        let failure = CommandError::bad_news("the restoration was stopped before its end");
        failure.hint("pushpost tokens restore goes on with it")
    })
}

/// A bar for a run, shown on a terminal only.
pub(super) fn bar() -> ProgressBar {
    bar_of_parts(PARTS)
}

/// Moves the bar to where the run is.
pub(super) fn show(bar: &ProgressBar, run: &CleanupRun) {
    let all = run.last.0.max(1) as f64;
    let reached = run.reached.0 as f64 / all;
    let (part, message) = match (run.status, run.is_counted) {
        (CleanupStatus::Restoring | CleanupStatus::Restored, _) => {
            let part = run.restored as f64 / run.quarantined.max(1) as f64;
            (part, format!("{} restored", number(run.restored)))
        }
        (_, false) if run.is_dry_run => (reached, format!("{} match", number(run.counts.matched))),
        (_, false) => (reached / 2.0, format!("{} match", number(run.counts.matched))),
        (_, true) => {
            let message =
                format!("{} of {} quarantined", number(run.quarantined), number(run.counts.matched));
            (f64::midpoint(1.0, reached), message)
        }
    };
    bar.set_position((part.clamp(0.0, 1.0) * PARTS as f64) as u64);
    bar.set_message(message);
}

fn percent(share: f64) -> String {
    let percent = format!("{:.2}", share * 100.0);
    format!("{} %", percent.trim_end_matches('0').trim_end_matches('.'))
}

fn number(count: i64) -> String {
    grouped(count.unsigned_abs())
}

fn seconds(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    #[test]
    fn percents_have_no_needless_digits() {
        let shown = [0.2, 0.205, 0.000_04, 1.0, 0.1234].map(super::percent);
        assert_eq!(shown, ["20 %", "20.5 %", "0 %", "100 %", "12.34 %"]);
    }
}
