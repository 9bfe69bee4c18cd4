//! `POST /v1/notifications`, from JSON to a validated request: everything that can be said without the database.

use super::audience::{self, To};
use super::{content, lanes};
use crate::api::error::ApiError;
use crate::api::json::{self, Fields};
use crate::audience::Audience;
use crate::domain::{App, Content, ErrorLocation, InputCode, InstallationKey, Ttl, ValidationError};

/// What reading a request depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    /// The caller's app.
    pub(super) app: &'a App,
    /// Reads public device ids.
    pub(super) installation: &'a InstallationKey,
    /// Most devices, users and tokens together.
    pub(super) targets_max: usize,
    /// For requests that name none.
    pub(super) default_ttl: Ttl,
}

/// A validated request.
#[derive(Debug)]
pub(super) struct Request {
    /// What.
    pub(super) content: Content,
    /// How long.
    pub(super) ttl: Ttl,
    /// Kept and returned: JSON object of strings.
    pub(super) metadata: Option<Vec<u8>>,
    /// For whom.
    pub(super) audience: Audience,
}

/// Most strings in `metadata`.
const METADATA_MAX: usize = 16;
/// Most bytes of `metadata`, names and values together.
const METADATA_BYTES: usize = 2048;
/// Longest label.
const LABEL_MAX: usize = 50;

/// Reads and checks a body.
///
/// # Errors
/// All faults at once, or that `to` names too many.
pub(super) fn read(body: impl Into<Vec<u8>>, context: Context<'_>) -> Result<Request, ApiError> {
    let body = body.into();
    let asked = body.len();
    match json::read(body, |fields| request(fields, asked, context))? {
        Some(request) => Ok(request),
        None => Err(ApiError::TooManyTargets(context.targets_max)),
    }
}

/// `Some(None)`: too many targets, not read any further. `asked`: bytes of the whole.
fn request(mut fields: Fields<'_>, asked: usize, context: Context<'_>) -> Option<Option<Request>> {
    fields.require("to");
    let to = match to(&mut fields).map(|to| audience::read(to, context)) {
        Some(To::TooMany) => {
            fields.into_unread();
            return Some(None);
        }
        Some(To::Whole(audience)) => Some(audience),
        None => None,
    };
    let oversize = content::oversize(&mut fields, asked);
    let mut content = match oversize {
        Some(_) => Content::default(),
        None => content::read(&mut fields),
    };
    let ttl = ttl(&mut fields, context.default_ttl);
    content.label = label(&mut fields);
    let metadata = metadata(&mut fields);
    for later in ["send_at", "idempotency_key"] {
        if fields.string(later).is_some() {
            fields.fault(later, InputCode::NotSupportedYet, "this version does not serve this yet");
        }
    }
    let faults = fields.faults();
    fields.finish();
    match oversize {
        Some(oversize) => lanes::refuse(oversize, to.as_ref(), context.app, faults),
        None => lanes::check(&content, asked, to.as_ref(), context.app, faults),
    }
    to.map(|audience| Some(Request { content, ttl, metadata, audience }))
}

/// Other APIs have a token or a topic here.
fn to<'a>(fields: &mut Fields<'a>) -> Option<Fields<'a>> {
    if fields.value("to").is_some_and(|to| to.as_object().is_none()) {
        let detail = r#"this must be an object that says for whom, such as {"users":["u42"]}"#;
        let fault = ValidationError::at(fields.pointer("to"), InputCode::WrongType, detail);
        fields.faults().push(fault.with("expected", "object"));
        return None;
    }
    fields.fields("to")
}

/// Whole seconds, or digits and a unit.
fn ttl(fields: &mut Fields<'_>, default: Ttl) -> Ttl {
    let Some(value) = fields.value("ttl") else { return default };
    let read = match (value.as_str(), value.as_number()) {
        (Some(text), _) => Ttl::parse(text).ok(),
        (None, Some(number)) => number.parse().ok().and_then(|secs| Ttl::from_secs(secs).ok()),
        (None, None) => {
            fields.wrong_type("ttl", "integer or string");
            return default;
        }
    };
    read.unwrap_or_else(|| {
        let detail = "a ttl is whole seconds, or digits and one of s, m, h, d, w; from 0 to 28 days";
        fields.fault("ttl", InputCode::BadTtl, detail);
        default
    })
}

fn label(fields: &mut Fields<'_>) -> Option<String> {
    let label = fields.string("label")?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.~%-".contains(&b);
    if !(1..=LABEL_MAX).contains(&label.len()) || !label.bytes().all(allowed) {
        fields.fault("label", InputCode::BadValue, "a label is 1 to 50 letters, digits and any of _ . ~ % -");
        return None;
    }
    Some(label.to_owned())
}

/// Kept as JSON, so what a sender writes can't fail a statement (docs/queue.md#poisoned-values).
fn metadata(fields: &mut Fields<'_>) -> Option<Vec<u8>> {
    let metadata = fields.object("metadata")?;
    let at = fields.pointer("metadata");
    let (mut count, mut bytes) = (0, 0);
    for (name, value) in metadata.as_object()? {
        count += 1;
        bytes += name.len() + value.as_str().map_or(0, str::len);
        if value.as_str().is_none() && !fields.faults().is_full() {
            fields.faults().push(json::wrong_type(&ErrorLocation::member(&at, name), "string"));
        }
    }
    let too_much = |detail: &str, limit: usize, size: usize| {
        let fault = ValidationError::at(at.as_str(), InputCode::BadValue, detail);
        fields.faults().push(fault.with("limit", limit).with("size", size));
        None
    };
    if count > METADATA_MAX {
        return too_much("metadata has at most 16 strings", METADATA_MAX, count);
    }
    if bytes > METADATA_BYTES {
        return too_much("metadata has at most 2048 bytes, names and values together", METADATA_BYTES, bytes);
    }
    serde_json::to_vec(&metadata.to_map()).ok()
}
