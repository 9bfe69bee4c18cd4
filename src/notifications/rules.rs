//! What the providers allow of a notification: overrides, something to send, size. Checked before anything is stored, for
//! every lane that the notification may go to.

use uuid::Uuid;

use crate::audience::Audience;
use crate::domain::{App, Content, InputCode, NotificationId, Platform, PushType, ValidationError};
use crate::provider::{apns, fcm};

/// The smallest payload limit of a provider, in bytes (docs/providers.md#apns-request, #fcm-message).
const SMALLEST_LIMIT: usize = 4096;
/// How much longer than in the request its values can be in a message, which has each of them once: FCM takes `data` as
/// text, so that quotation marks are escaped twice.
const GROWTH_MAX: usize = 4;
/// More bytes than all that Pushpost adds to a message, but for the configured channel.
const OVERHEAD_MAX: usize = 512;

/// The content of a request that has more bytes than any provider takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Oversize {
    /// Bytes of the content; there may be more.
    pub size: usize,
    /// How the notification was to be sent through APNs, which decides on APNs's limit.
    pub push_type: PushType,
}

/// Members of overrides that may not be there, or have values that the provider refuses.
pub fn check_overrides(content: &Content, app: &App) -> Vec<ValidationError> {
    let mut faults = apns::check_overrides(content, &app.apns_topics);
    faults.extend(fcm::check_overrides(content, &app.apns_topics));
    faults
}

/// Is there something to send, and is a silent notification silent? Asked when no fault of form was found, because a member
/// of the wrong type, or with a misspelt name, may be the one that seems to be missing.
pub fn check_content(content: &Content) -> Vec<ValidationError> {
    let mut faults = Vec::new();
    let is_supplied = apns::supplies_content(content) || fcm::supplies_content(content);
    if !content.silent && !content.shows_something() && !is_supplied {
        let detail =
            "a notification has a title, body, sound or badge, or is silent, or an override supplies them";
        faults.push(ValidationError::at("#", InputCode::NothingToSend, detail));
    }
    // Where fields of the request itself show something, the reader of these fields reports it.
    let is_overridden = apns::shows_something(content) || fcm::shows_something(content);
    if content.silent && !content.shows_something() && is_overridden {
        let detail = "an override brings something to see or hear, which a silent notification has not";
        faults.push(ValidationError::at("#/silent", InputCode::SilentWithContent, detail));
    }
    faults
}

/// Is the message too large for a provider that it may go to? `request_bytes`: bytes of the whole request.
pub fn check_size(content: &Content, request_bytes: usize, to: &Audience, app: &App) -> Vec<ValidationError> {
    if fits_every_provider(request_bytes, app) {
        return Vec::new();
    }
    let platforms =
        Platform::ALL.into_iter().filter(|platform| app.has_platform(*platform) && to.may_reach(*platform));
    platforms.flat_map(|platform| check_size_for(content, platform, app)).collect()
}

/// A fault for each provider that would be sent a content that is larger than any provider takes.
pub fn refuse_oversize(oversize: Oversize, to: Option<&Audience>, app: &App) -> Vec<ValidationError> {
    let Oversize { size, push_type } = oversize;
    let fault = |limit: usize| {
        ValidationError::at("#", InputCode::PayloadTooLarge, "larger than any provider takes")
            .with("size", size)
            .with("limit", limit)
    };
    let mut faults = Vec::new();
    for platform in Platform::ALL {
        if app.has_platform(platform) && to.is_some_and(|to| to.may_reach(platform)) {
            let limit = match platform {
                Platform::Apns => push_type.payload_limit(),
                Platform::Fcm => SMALLEST_LIMIT,
            };
            faults.push(fault(limit).with("platform", platform.as_str()));
        }
    }
    if faults.is_empty() {
        faults.push(fault(SMALLEST_LIMIT));
    }
    faults
}

/// Is a request so small that no provider can call its message too large? Rendering the message to find out is most of what
/// a request costs.
pub fn fits_every_provider(request_bytes: usize, app: &App) -> bool {
    let channel = app.fcm_channel.as_ref().map_or(0, String::len);
    request_bytes * GROWTH_MAX + OVERHEAD_MAX + channel <= SMALLEST_LIMIT
}

/// The most bytes of a request that [`fits_every_provider`], without a configured channel.
pub const FITTING_REQUEST_MAX: usize = (SMALLEST_LIMIT - OVERHEAD_MAX) / GROWTH_MAX;

/// Renders the message for a provider and compares its size with the provider's limit.
pub fn check_size_for(content: &Content, platform: Platform, app: &App) -> Vec<ValidationError> {
    // Ids are all of one length.
    let id = NotificationId(Uuid::nil());
    match platform {
        Platform::Apns => apns::check_size(content, id).into_iter().collect(),
        Platform::Fcm => fcm::check_size(content, id, app.fcm_channel.as_deref()),
    }
}
