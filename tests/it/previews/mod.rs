//! `POST /v1/notifications/preview`.

mod as_sent;
mod rules;

const PREVIEW: &str = "/v1/notifications/preview";
/// The notification's id in previews.
const ANY_ID: &str = "ntf_00000000000000000000000000000000";
