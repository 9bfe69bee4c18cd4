//! Reads the body of `POST /v1/notifications` into a [`Submission`], and reports all faults that can be found without the
//! database.

use chrono::{DateTime, Utc};

use super::audience::{self, ReadAudience};
use super::content;
use super::idempotency::{self, HeaderKey};
use super::{label, send_time};
use crate::api::error::{ApiError, is_form};
use crate::api::json::{self, Fields, ValidationErrors};
use crate::audience::Audience;
use crate::domain::{
    App, Content, ErrorLocation, Idempotency, InputCode, InstallationKey, Kind, SendTime, Ttl,
    ValidationError, parse_whole_number,
};
use crate::notifications::preview::PreviewSubmission;
use crate::notifications::rules;
use crate::notifications::send::Submission;
use crate::provider::Providers;

/// What reading a request depends on, besides its body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    /// The caller's app.
    pub(super) app: &'a App,
    /// All providers of this process.
    pub(super) providers: &'a Providers,
    /// Reads public device ids.
    pub(super) installation: &'a InstallationKey,
    /// The most devices, users and tokens together.
    pub(super) targets_max: usize,
    /// The database's time, which `send_at` is compared with.
    pub(super) now: DateTime<Utc>,
    /// The time to live of requests that name none.
    pub(super) default_ttl: Ttl,
    /// The idempotency key of the header.
    pub(super) header_key: HeaderKey,
    /// The size of the message is checked for each provider that it may go to. A preview shows sizes itself.
    pub(super) checks_size: bool,
    /// The body says that a token which no device can have is a target that is rejected, not a fault.
    pub(super) rejects_bad_tokens: bool,
}

/// What `on_bad_token` may say; the first is the default.
pub(in crate::api) const ON_BAD_TOKEN: [&str; 2] = ["fail", "reject"];
/// The most strings in `metadata`.
const METADATA_ITEMS_MAX: usize = 16;
/// The most bytes of `metadata`, names and values together.
const METADATA_BYTES_MAX: usize = 2048;

/// Reads and checks a body. The idempotency key is also returned if the body has faults, unless the key is one of them,
/// or a member is there twice: the digest tells such a body from no other.
///
/// # Errors
/// All faults at once, or `TooManyTargets`.
pub(super) fn read(
    body: impl Into<Vec<u8>>,
    context: Context<'_>,
) -> (Option<Idempotency>, Result<Submission, ApiError>) {
    let body = body.into();
    let request_bytes = body.len();
    let mut keyed = None;
    let read = json::read(body, |mut fields| {
        keyed = idempotency::read(&mut fields, context.header_key);
        request(fields, request_bytes, context)
    });
    let submission = match read {
        Ok(Some(submission)) => Ok(submission),
        Ok(None) => Err(ApiError::TooManyTargets(context.targets_max)),
        Err(faults) => {
            keyed = keyed.filter(|_| faults.iter().all(|fault| fault.code != InputCode::DuplicateField));
            Err(faults.into())
        }
    };
    (keyed, submission)
}

/// Reads a body for a preview, with the faults of meaning that a notification would be refused for.
///
/// # Errors
/// All faults at once if one of them is of form, or `TooManyTargets`.
pub(super) fn read_preview(
    body: impl Into<Vec<u8>>,
    context: Context<'_>,
) -> Result<(PreviewSubmission, Vec<ValidationError>), ApiError> {
    let read = json::read_with_faults(body, |mut fields| {
        idempotency::read(&mut fields, context.header_key);
        Some(request_parts(fields, usize::MAX, context))
    });
    match read {
        (Some(Some(parts)), faults) if !faults.iter().any(|fault| is_form(fault.code)) => {
            let RequestParts { content, is_oversize, kind, send_at, ttl, audience, .. } = parts;
            let content = (!is_oversize).then_some(content);
            Ok((PreviewSubmission { content, kind, send_at, ttl, audience }, faults))
        }
        (Some(None), _) => Err(ApiError::TooManyTargets(context.targets_max)),
        (_, faults) => Err(faults.into()),
    }
}

/// None: `to` is missing or has another type, which is reported. `Some(None)`: there are too many targets, and the rest
/// was not read.
fn request(mut fields: Fields<'_>, request_bytes: usize, context: Context<'_>) -> Option<Option<Submission>> {
    fields.require("to");
    let Some(parts) = request_parts(fields, request_bytes, context) else { return Some(None) };
    let RequestParts { content, kind, send_at, ttl, metadata, audience, .. } = parts;
    Some(Some(Submission { content, kind, send_at, ttl, metadata, audience: audience? }))
}

/// What a request says, as far as it could be read.
struct RequestParts {
    content: Content,
    /// The content is larger than any provider takes, and was not read.
    is_oversize: bool,
    kind: Kind,
    send_at: SendTime,
    ttl: Ttl,
    metadata: Option<Vec<u8>>,
    audience: Option<Audience>,
}

/// None: there are too many targets, and the rest was not read.
fn request_parts(mut fields: Fields<'_>, request_bytes: usize, context: Context<'_>) -> Option<RequestParts> {
    let context = Context { rejects_bad_tokens: rejects_bad_tokens(&mut fields), ..context };
    let audience = match to(&mut fields).map(|to| audience::read(to, context)) {
        Some(ReadAudience::TooMany) => {
            fields.into_unread();
            return None;
        }
        Some(ReadAudience::Whole(audience)) => Some(audience),
        None => None,
    };
    let oversize = content::oversize(&mut fields, request_bytes, context.providers);
    let mut content = match oversize {
        Some(_) => Content::default(),
        None => content::read(&mut fields, context.providers),
    };
    let ttl = ttl(&mut fields, context.default_ttl);
    content.label = label::read(&mut fields);
    let metadata = metadata(&mut fields);
    let send_at = send_time::read(&mut fields, context.now);
    let faults = fields.faults();
    fields.finish();
    let is_oversize = oversize.is_some();
    match oversize {
        Some(oversize) => faults.extend(rules::refuse_oversize(&oversize, audience.as_ref(), context.app)),
        None => check(&content, request_bytes, audience.as_ref(), context, faults),
    }
    let kind = context.providers.kind(&content);
    Some(RequestParts { content, is_oversize, kind, send_at, ttl, metadata, audience })
}

/// Adds the faults of meaning that depend on the providers. Later checks are left out where earlier faults make them
/// meaningless.
fn check(
    content: &Content,
    request_bytes: usize,
    to: Option<&Audience>,
    context: Context<'_>,
    faults: &ValidationErrors,
) {
    let Context { app, providers, .. } = context;
    faults.extend(rules::check_overrides(content, app, providers));
    if faults.any(is_form) {
        return;
    }
    faults.extend(rules::check_content(content, providers));
    // Content that is faulty already may be too large only because of that.
    if let Some(to) = to.filter(|_| context.checks_size && faults.is_empty()) {
        faults.extend(rules::check_size(content, request_bytes, to, app, providers));
    }
}

/// In other APIs `to` is a token or a topic, so the fault says what it is here.
fn to<'a>(fields: &mut Fields<'a>) -> Option<Fields<'a>> {
    if fields.value("to").is_some_and(|to| to.as_object().is_none()) {
        let detail = r#"this must be an object that says for whom, such as {"users":["u42"]}"#;
        let fault = ValidationError::at(fields.pointer("to"), InputCode::WrongType, detail);
        fields.faults().push(fault.with("expected", "object"));
        return None;
    }
    fields.fields("to")
}

/// What `on_bad_token` says.
fn rejects_bad_tokens(fields: &mut Fields<'_>) -> bool {
    let Some(name) = fields.string("on_bad_token") else { return false };
    if !ON_BAD_TOKEN.contains(&name) {
        let fault = json::unknown_choice(fields.pointer("on_bad_token"), name, &ON_BAD_TOKEN);
        fields.faults().push(fault);
    }
    name == ON_BAD_TOKEN[1]
}

/// A time to live: whole seconds, or digits and a unit.
fn ttl(fields: &mut Fields<'_>, default: Ttl) -> Ttl {
    let Some(value) = fields.value("ttl") else { return default };
    let read = match (value.as_str(), value.as_number()) {
        (Some(text), _) => Ttl::parse(text).ok(),
        (None, Some(number)) => {
            let secs = parse_whole_number(number).ok().and_then(|secs| u64::try_from(secs).ok());
            secs.and_then(|secs| Ttl::from_secs(secs).ok())
        }
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
    if count > METADATA_ITEMS_MAX {
        return too_much("metadata has at most 16 strings", METADATA_ITEMS_MAX, count);
    }
    if bytes > METADATA_BYTES_MAX {
        return too_much(
            "metadata has at most 2048 bytes, names and values together",
            METADATA_BYTES_MAX,
            bytes,
        );
    }
    serde_json::to_vec(&metadata.to_map()).ok()
}
