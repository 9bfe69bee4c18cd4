//! Reads the idempotency key of a request, from its header or from its body.

use http::HeaderMap;

use crate::api::json::Fields;
use crate::api::query::Parameters;
use crate::domain::{IDEMPOTENCY_KEY_MAX, Idempotency, IdempotencyKey, InputCode, ValidationError};

/// As problems name it; header names have no case.
const HEADER: &str = "Idempotency-Key";
/// The same key as a member of the body.
const MEMBER: &str = "idempotency_key";

const NO_KEY: &str = "an idempotency key is 1 to 255 visible ASCII characters";

/// The key of the header, if there is one. A fault of the header is added to `faults`.
pub(super) fn from_header(headers: &HeaderMap, faults: &mut Parameters) -> Option<IdempotencyKey> {
    let mut given = headers.get_all(HEADER).iter();
    let value = given.next()?;
    if given.next().is_some() {
        faults.add(ValidationError::in_header(
            HEADER,
            InputCode::OutOfRange,
            "this header may be given only once",
        ));
        return None;
    }
    let key = IdempotencyKey::parse_header(value.as_bytes());
    if key.is_none() {
        faults.add(
            ValidationError::in_header(HEADER, InputCode::BadValue, NO_KEY)
                .with("limit", IDEMPOTENCY_KEY_MAX),
        );
    }
    key
}

/// The key of a body and its header, with the digest of the body. Where the key stands does not change the digest.
pub(super) fn read(fields: &mut Fields<'_>, header: Option<IdempotencyKey>) -> Option<Idempotency> {
    let member = fields.string(MEMBER);
    let key = match member.map(IdempotencyKey::parse) {
        None => header?,
        Some(Some(key)) if header.is_none_or(|header| header == key) => key,
        Some(Some(_)) => {
            fields.faults().push(ValidationError::in_header(
                HEADER,
                InputCode::OutOfRange,
                "header and body have different keys",
            ));
            return None;
        }
        Some(None) => {
            let fault = ValidationError::at(fields.pointer(MEMBER), InputCode::BadValue, NO_KEY);
            fields.faults().push(fault.with("limit", IDEMPOTENCY_KEY_MAX));
            return None;
        }
    };
    Some(Idempotency { key, request: fields.digest(MEMBER) })
}
