//! The body of `POST /v1/admin/cleanups`, as the OpenAPI document describes it. It is read by [`super::request`], which reports
//! all faults at once; `api::openapi`'s tests compare both.

#![expect(dead_code, reason = "these types only describe; nothing constructs them")]

use utoipa::ToSchema;

use crate::api::schema_enums;

/// Which devices a clean-up run quarantines. A member that is `null` counts as left out.
#[derive(ToSchema, Debug)]
#[schema(example = json!({
    "inactive_days": 270, "platforms": ["apns"], "environments": ["production"], "app_version_below": "5.0",
    "max_share": 0.2, "dry_run": true
}))]
pub(in crate::api) struct CleanupRequest {
    /// Devices match that were last registered at least so many days ago; if never registered, created.
    #[schema(minimum = 1, maximum = 3650)]
    inactive_days: u16,
    /// Only devices of these platforms; all if left out.
    #[schema(value_type = Option<Vec<schema_enums::Platform>>, min_items = 1)]
    platforms: Option<Vec<String>>,
    /// Only devices of these environments, which FCM devices never are; all if left out.
    #[schema(value_type = Option<Vec<schema_enums::Environment>>, min_items = 1)]
    environments: Option<Vec<String>>,
    /// Only devices with a lower version of the app. Whole numbers and dots, at most 64 bytes, compared number by number.
    /// A device without a version, or with one of another form, never matches.
    #[schema(max_length = 64, pattern = "^[0-9]+(\\.[0-9]+)*$")]
    app_version_below: Option<String>,
    /// The largest share of the active devices in question that the run may quarantine; 0.2 if left out.
    #[schema(minimum = 0, maximum = 1)]
    max_share: Option<f64>,
    /// True: the run only counts.
    dry_run: Option<bool>,
}
