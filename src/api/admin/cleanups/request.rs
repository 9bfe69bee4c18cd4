//! Reads the body of `POST /v1/admin/cleanups`, and reports all faults.

use crate::api::json::{self, Fields};
use crate::api::named;
use crate::domain::{
    App, CleanupCriteria, DottedVersion, Environment, InputCode, ShareLimit, ValidationError,
};

/// What a request asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RequestedCleanup {
    pub(super) criteria: CleanupCriteria,
    pub(super) is_dry_run: bool,
}

/// Reads and checks a body.
///
/// # Errors
/// All faults at once.
pub(super) fn read(body: Vec<u8>, app: &App) -> Result<RequestedCleanup, Vec<ValidationError>> {
    json::read(body, |mut fields| {
        fields.require("inactive_days");
        let days = fields.integer("inactive_days", CleanupCriteria::INACTIVE_DAYS);
        let platforms = named::platforms(&mut fields, app);
        let environments = environments(&mut fields, app);
        let app_version_below = app_version_below(&mut fields);
        let max_share = fields.number("max_share", 0.0..=1.0).and_then(ShareLimit::from_fraction);
        let is_dry_run = fields.boolean("dry_run").unwrap_or(false);
        fields.finish();
        let inactive_days = u16::try_from(days?).ok()?;
        let max_share = max_share.unwrap_or_default();
        let criteria =
            CleanupCriteria { inactive_days, platforms, environments, app_version_below, max_share };
        Some(RequestedCleanup { criteria, is_dry_run })
    })
}

fn environments(fields: &mut Fields<'_>, app: &App) -> Option<Vec<Environment>> {
    let given = fields.strings("environments")?;
    if fields.length("environments") == 0 {
        fields.fault(
            "environments",
            InputCode::BadValue,
            "this names no environment, so no device would match",
        );
    }
    let known = app.platforms().stated_environments();
    let mut environments = Vec::new();
    for (at, text) in given {
        match known.iter().find(|environment| environment.as_str() == text) {
            Some(found) => environments.push(*found),
            None => {
                let names: Vec<_> = known.iter().map(|environment| environment.as_str()).collect();
                let detail = format!("this must be one of {}", names.join(", "));
                let fault = ValidationError::at(at, InputCode::BadValue, detail);
                fields.faults().push(fault.with("supported", names));
            }
        }
    }
    environments.sort_unstable();
    environments.dedup();
    Some(environments)
}

fn app_version_below(fields: &mut Fields<'_>) -> Option<DottedVersion> {
    let text = fields.string("app_version_below")?;
    let version = DottedVersion::parse(text);
    if version.is_none() {
        let detail = format!(
            "this must be whole numbers and dots, such as 5.2.0, at most {} bytes",
            DottedVersion::MAX
        );
        fields.fault("app_version_below", InputCode::BadValue, detail);
    }
    version
}
