//! The id of a request, which the answer, its problem document and the log have. Set by `request`; handlers get it as an
//! extension.

use http::{HeaderMap, HeaderName};
use uuid::Uuid;

/// The header of a request's id, in requests and answers.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
/// Longest request id that is accepted from a caller, in characters.
const ID_MAX: usize = 64;

/// A request's id: 1 to 64 printable ASCII characters.
#[derive(Clone, Debug)]
pub(super) struct RequestId(pub(super) String);

impl RequestId {
    /// The id in the request's headers if it is valid, else a random one.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
        let is_valid =
            |id: &&str| (1..=ID_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
        match given.filter(is_valid) {
            Some(id) => Self(id.to_owned()),
            None => Self(Uuid::from_u128(rand::random()).simple().to_string()),
        }
    }
}
