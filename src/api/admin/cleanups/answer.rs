//! A clean-up run as answers and the command line show it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::schema_enums;
use crate::api::time::Timestamp;
use crate::domain::{CleanupCriteria, CleanupProblem, DottedVersion, InstallationKey};
use crate::store::cleanups::CleanupRun;

/// A clean-up run. First it counts; then it quarantines the devices that match.
#[derive(Serialize, ToSchema, Debug)]
#[schema(as = CleanupRun, example = json!({
    "id": "run_5bf4acbbbcffe5d67fbfee43320f88a6", "status": "done", "dry_run": false,
    "criteria": {
        "inactive_days": 270, "platforms": null, "environments": null, "app_version_below": null, "max_share": 0.2
    },
    "scanned": 120000, "matched": 9000, "recently_quarantined": 0, "quarantined": 9000, "restored": 0,
    "sample": ["dev_5bf4acbbbcffe5d67fbfee43320f88a6"], "schedule": "stale",
    "created_at": "2026-11-29T03:00:00.000Z", "done_at": "2026-11-29T03:00:10.000Z", "problem": null
}))]
pub(in crate::api) struct CleanupAnswer<'a> {
    /// The run's id.
    id: String,
    /// `running` and `restoring` end by themselves.
    #[schema(value_type = schema_enums::CleanupStatus)]
    status: &'static str,
    /// Does the run only count?
    dry_run: bool,
    /// Which devices match.
    criteria: CleanupCriteriaAnswer<'a>,
    /// Active devices of the platforms and environments in question that were counted so far.
    scanned: i64,
    /// Devices among them that match.
    matched: i64,
    /// Devices in question that runs quarantined in the 30 days before and that were not restored. They count towards the
    /// share.
    recently_quarantined: i64,
    /// Devices that the run quarantined so far.
    quarantined: i64,
    /// Devices that its restoration made active again so far.
    restored: i64,
    /// Ids of the first devices that matched, at most 100.
    sample: Vec<String>,
    /// The schedule that started the run; null: a request or a command did.
    #[schema(required)]
    schedule: Option<&'a str>,
    /// When the run began. Inactivity is counted from then.
    created_at: Timestamp,
    /// When the run, or its restoration, ended; null while it is under way.
    #[schema(required)]
    done_at: Option<Timestamp>,
    /// Why the run changed nothing, or would change nothing if it were no dry run.
    #[schema(required)]
    problem: Option<CleanupProblemAnswer>,
}

/// Which devices match. A criterion that is null lets all pass.
#[derive(Serialize, ToSchema, Debug)]
#[schema(as = CleanupCriteria)]
pub(in crate::api) struct CleanupCriteriaAnswer<'a> {
    /// Days since the last registration at least.
    inactive_days: u16,
    /// Only devices of these platforms.
    #[schema(required, value_type = Option<Vec<schema_enums::Platform>>)]
    platforms: Option<Vec<&'static str>>,
    /// Only devices of these environments.
    #[schema(required, value_type = Option<Vec<schema_enums::Environment>>)]
    environments: Option<Vec<&'static str>>,
    /// Only devices with a lower version of the app.
    #[schema(required)]
    app_version_below: Option<&'a str>,
    /// The largest share that the run may quarantine.
    max_share: f64,
}

/// Why a run changed nothing.
#[derive(Serialize, ToSchema, Debug)]
#[schema(as = CleanupProblem, example = json!({
    "code": "share_exceeded", "detail": "The run would quarantine more than max_share of the active devices.",
    "share": 0.31, "max_share": 0.2
}))]
pub(in crate::api) struct CleanupProblemAnswer {
    /// `share_exceeded`: `share` is above `max_share`.
    #[schema(value_type = schema_enums::CleanupProblemWord)]
    code: &'static str,
    /// The problem in words for people.
    detail: &'static str,
    /// What matched, and what runs of the 30 days before quarantined, as a share of the active devices in question.
    share: f64,
    /// The largest share that is allowed.
    max_share: f64,
}

/// A run as `GET /v1/admin/cleanups/{id}` answers it, in one line.
pub fn json(key: &InstallationKey, run: &CleanupRun) -> String {
    serde_json::to_string(&CleanupAnswer::of(key, run)).expect("strings and numbers become JSON")
}

impl<'a> CleanupAnswer<'a> {
    pub(in crate::api) fn of(key: &InstallationKey, run: &'a CleanupRun) -> Self {
        Self {
            id: key.cleanup_run_id(run.app, run.id),
            status: run.status.as_str(),
            dry_run: run.is_dry_run,
            criteria: CleanupCriteriaAnswer::from(&run.criteria),
            scanned: run.counts.scanned,
            matched: run.counts.matched,
            recently_quarantined: run.counts.recently_quarantined,
            quarantined: run.quarantined,
            restored: run.restored,
            sample: run.sample.iter().map(|device| key.device_id(run.app, *device)).collect(),
            schedule: run.schedule.as_deref(),
            created_at: Timestamp(run.created_at),
            done_at: run.done_at.map(Timestamp),
            problem: run.problem.map(|problem| CleanupProblemAnswer::of(problem, run)),
        }
    }
}

impl<'a> From<&'a CleanupCriteria> for CleanupCriteriaAnswer<'a> {
    fn from(criteria: &'a CleanupCriteria) -> Self {
        let platforms = criteria.platforms.as_ref();
        let environments = criteria.environments.as_ref();
        Self {
            inactive_days: criteria.inactive_days,
            platforms: platforms.map(|all| all.iter().map(|platform| platform.as_str()).collect()),
            environments: environments
                .map(|all| all.iter().map(|environment| environment.as_str()).collect()),
            app_version_below: criteria.app_version_below.as_ref().map(DottedVersion::as_str),
            max_share: criteria.max_share.as_fraction(),
        }
    }
}

impl CleanupProblemAnswer {
    fn of(problem: CleanupProblem, run: &CleanupRun) -> Self {
        let detail = match problem {
            CleanupProblem::ShareExceeded => {
                "The run would quarantine more than max_share of the active devices in question."
            }
        };
        let max_share = run.criteria.max_share.as_fraction();
        Self { code: problem.as_str(), detail, share: run.counts.share(), max_share }
    }
}
