//! `GET /v1/devices`: a page of the devices that match the filters.

use axum::Json;
use axum::extract;
use axum::response::{IntoResponse, Response};

use super::answer::{DeviceList, DeviceView};
use crate::api::State;
use crate::api::auth::{Caller, ReadDevices};
use crate::api::error::{ApiError, FilteredListProblems};
use crate::api::query::Parameters;
use crate::api::schema_enums;
use crate::api::time::Timestamp;
use crate::domain::{App, DeviceId, InputCode, Platform, TopicName, UserId};
use crate::registry::device_list;
use crate::store::devices::DeviceFilter;

/// List devices
///
/// Ordered by when they became known. A filter given twice means either. A request looks at devices for a second at most. So with a
/// filter that matches few, a page can have fewer items than `limit`, or none, and a `next_cursor` all the same.
#[utoipa::path(
    get, path = "/v1/devices", operation_id = "listDevices", tag = "devices",
    security(("key" = ["devices", "read"])),
    params(
        ("user" = Option<Vec<String>>, Query, description = "Only devices of this user.", example = json!(["u42"])),
        ("topic" = Option<Vec<String>>, Query, description = "Only devices with this topic, their own or their user's.", example = json!(["news"])),
        ("platform" = Option<Vec<schema_enums::Platform>>, Query, description = "Only devices of this service."),
        ("status" = Option<Vec<schema_enums::DeviceStatus>>, Query, description = "Only devices with this status."),
        ("registered_before" = Option<Vec<Timestamp>>, Query, description = "RFC 3339, with `Z` or an offset."),
        ("quarantined_after" = Option<Vec<Timestamp>>, Query, description = "RFC 3339, with `Z` or an offset."),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "Items of a page; 100 if left out."),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before, with the same filters."),
    ),
    responses((status = 200, description = "A page of devices.", body = DeviceList), FilteredListProblems)
)]
pub(super) async fn list(
    extract::State(state): extract::State<State>,
    caller: Caller<ReadDevices>,
    mut parameters: Parameters,
) -> Result<Response, ApiError> {
    let filter = filter(&mut parameters, &caller.app);
    let asked = parameters.page("devices", caller.app.id, &state.installation);
    parameters.finish()?;
    let after = asked.after.as_deref().and_then(|bytes| bytes.try_into().ok()).map_or(0, i64::from_be_bytes);
    let found = device_list::list(&state.pool, caller.app.id, &filter, DeviceId(after), asked.limit).await?;
    let next_cursor = found.next.map(|next| asked.cursor(&state.installation, &next.0.to_be_bytes()));
    let view = DeviceView::of(&caller);
    let items = found.devices.iter().map(|known| view.show(&state.installation, known, &[])).collect();
    Ok(Json(DeviceList { items, next_cursor }).into_response())
}

fn filter(parameters: &mut Parameters, app: &App) -> DeviceFilter {
    let users = parameters.parsed("user", UserId::parse, InputCode::BadUser, "this is no user id");
    let topics = parameters.parsed("topic", TopicName::parse, InputCode::BadTopic, "this is no topic");
    let platforms = parameters.choices("platform", app.platforms().as_slice(), Platform::as_str);
    let statuses = parameters.choices("status", &[false, true], |quarantined| {
        schema_enums::DEVICE_STATUSES[usize::from(quarantined)]
    });
    let before = parameters.times("registered_before");
    let after = parameters.times("quarantined_after");
    DeviceFilter {
        users: some(users),
        topics: some(topics),
        platforms: some(platforms),
        quarantined: statuses.first().copied().filter(|first| statuses.iter().all(|status| status == first)),
        // A filter given twice means either, so the wider bound counts.
        registered_before: before.into_iter().max(),
        quarantined_after: after.into_iter().min(),
    }
}

fn some<T>(values: Vec<T>) -> Option<Vec<T>> {
    (!values.is_empty()).then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::openapi::tests::query_parameters;
    use crate::domain::{AppId, InstallationKey};

    #[test]
    fn the_documented_parameters_are_those_that_are_read() {
        let mut parameters = Parameters::new(Vec::new());
        filter(&mut parameters, &crate::api::tests::app());
        parameters.page("devices", AppId(1), &InstallationKey::new([7; 32]));
        assert_eq!(query_parameters("listDevices"), parameters.asked());
    }
}
