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

/// What the header says.
#[derive(Clone, Copy, Debug)]
pub(super) enum HeaderKey {
    /// There is no such header.
    Absent,
    /// The header has a fault, which is reported.
    Faulty,
    /// The key that the sender gave.
    Given(IdempotencyKey),
}

/// Reads the header. Its fault is added to `faults`.
pub(super) fn from_header(headers: &HeaderMap, faults: &mut Parameters) -> HeaderKey {
    let mut given = headers.get_all(HEADER).iter();
    let Some(value) = given.next() else { return HeaderKey::Absent };
    if given.next().is_some() {
        faults.add(in_header(InputCode::OutOfRange, "this header may be given only once"));
        return HeaderKey::Faulty;
    }
    match IdempotencyKey::parse_header(value.as_bytes()) {
        Some(key) => HeaderKey::Given(key),
        None => {
            faults.add(in_header(InputCode::BadValue, NO_KEY).with("limit", IDEMPOTENCY_KEY_MAX));
            HeaderKey::Faulty
        }
    }
}

/// Adds the fault of a batch with a key for the whole.
pub(super) fn refuse_header(headers: &HeaderMap, faults: &mut Parameters) {
    if headers.contains_key(HEADER) {
        let detail = "a batch has no key for the whole; each item may have a member `idempotency_key`";
        faults.add(in_header(InputCode::OutOfRange, detail));
    }
}

/// The key of a body and its header, with the digest of the body. Where the key stands does not change the digest. None:
/// there is no key, or it has a fault.
pub(super) fn read(fields: &mut Fields<'_>, header: HeaderKey) -> Option<Idempotency> {
    let key = match (member(fields)?, header) {
        (_, HeaderKey::Faulty) | (None, HeaderKey::Absent) => return None,
        (None, HeaderKey::Given(key)) | (Some(key), HeaderKey::Absent) => key,
        (Some(key), HeaderKey::Given(same)) if key == same => key,
        (Some(_), HeaderKey::Given(_)) => {
            fields.faults().push(in_header(InputCode::OutOfRange, "header and body have different keys"));
            return None;
        }
    };
    Some(Idempotency { key, request: fields.digest(MEMBER) })
}

/// The key in the body, if there is one. None: it has a fault, which is reported.
fn member(fields: &mut Fields<'_>) -> Option<Option<IdempotencyKey>> {
    let Some(value) = fields.value(MEMBER) else { return Some(None) };
    let Some(text) = value.as_str() else {
        fields.wrong_type(MEMBER, "string");
        return None;
    };
    let key = IdempotencyKey::parse(text);
    if key.is_none() {
        let fault = ValidationError::at(fields.pointer(MEMBER), InputCode::BadValue, NO_KEY);
        fields.faults().push(fault.with("limit", IDEMPOTENCY_KEY_MAX));
    }
    key.map(Some)
}

fn in_header(code: InputCode, detail: &str) -> ValidationError {
    ValidationError::in_header(HEADER, code, detail)
}
