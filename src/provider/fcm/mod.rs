//! Firebase Cloud Messaging, HTTP v1: credential, request, response.

mod request;
mod response;
mod schema;

pub use request::{Prepared, check_overrides, check_size, prepare, supplies_content};
pub use response::classify;
