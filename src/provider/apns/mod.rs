//! Apple Push Notification service: credential, request, response.

mod request;
mod response;

pub use request::{Prepared, TopicOrigin, check_overrides, check_size, prepare, supplies_content};
pub use response::classify;
