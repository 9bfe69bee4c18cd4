//! What the providers allow of a notification: overrides, something to send, size. Checked before anything is stored, for
//! every lane that the notification may go to.

use crate::audience::Audience;
use crate::domain::{App, Content, InputCode, Platform, ValidationError};
use crate::provider::{PAYLOAD_LIMIT_MIN, Providers};

/// A value can become 4 times as long in a message as it is in the request, because FCM takes `data` as text and
/// quotation marks are escaped twice. A message has each value once.
const GROWTH_MAX: usize = 4;
/// Upper bound of the bytes that Pushpost adds to a message, without those of the app's settings.
const OVERHEAD_MAX: usize = 512;

/// The content of a request that has more bytes than any provider takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Oversize {
    /// Bytes of the content; there may be more.
    pub size: usize,
    /// The most bytes that each provider takes of such a notification.
    pub limits: Vec<(Platform, usize)>,
}

/// Members of overrides that may not be there, or have values that the provider refuses.
pub fn check_overrides(content: &Content, app: &App, providers: &Providers) -> Vec<ValidationError> {
    providers.iter().flat_map(|provider| provider.check_overrides(content, app)).collect()
}

/// Is there something to send, and is a silent notification silent? Asked when no fault of form was found, because a member
/// of the wrong type, or with a misspelt name, may be the one that seems to be missing.
pub fn check_content(content: &Content, providers: &Providers) -> Vec<ValidationError> {
    let mut faults = Vec::new();
    let is_supplied = providers.iter().any(|provider| provider.supplies_content(content));
    if !content.silent && !content.shows_something() && !is_supplied {
        let detail =
            "a notification has a title, body, sound or badge, or is silent, or an override supplies them";
        faults.push(ValidationError::at("#", InputCode::NothingToSend, detail));
    }
    // Where fields of the request itself show something, the reader of these fields reports it.
    let is_overridden = providers.iter().any(|provider| provider.shows_something(content));
    if content.silent && !content.shows_something() && is_overridden {
        let detail = "an override brings something to see or hear, which a silent notification has not";
        faults.push(ValidationError::at("#/silent", InputCode::SilentWithContent, detail));
    }
    faults
}

/// Is the message too large for a provider that it may go to? `request_bytes`: bytes of the whole request.
pub fn check_size(
    content: &Content,
    request_bytes: usize,
    to: &Audience,
    app: &App,
    providers: &Providers,
) -> Vec<ValidationError> {
    if fits_every_provider(request_bytes, app, providers) {
        return Vec::new();
    }
    let concerned = providers.iter().filter(|provider| may_reach(to, app, provider.platform()));
    concerned.flat_map(|provider| provider.check_size(content, app)).collect()
}

/// A fault for each provider that would be sent a content that is larger than any provider takes.
pub fn refuse_oversize(oversize: &Oversize, to: Option<&Audience>, app: &App) -> Vec<ValidationError> {
    let fault = |limit: usize| {
        ValidationError::at("#", InputCode::PayloadTooLarge, "larger than any provider takes")
            .with("size", oversize.size)
            .with("limit", limit)
    };
    let mut faults = Vec::new();
    for (platform, limit) in &oversize.limits {
        if to.is_some_and(|to| may_reach(to, app, *platform)) {
            faults.push(fault(*limit).with("platform", platform.as_str()));
        }
    }
    if faults.is_empty() {
        faults.push(fault(PAYLOAD_LIMIT_MIN));
    }
    faults
}

/// Is a request so small that no provider can call its message too large? Rendering the message to find out is most of what
/// a request costs.
pub fn fits_every_provider(request_bytes: usize, app: &App, providers: &Providers) -> bool {
    let settings = providers.iter().map(|provider| provider.settings_bytes(app)).max().unwrap_or_default();
    request_bytes.saturating_mul(GROWTH_MAX).saturating_add(OVERHEAD_MAX + settings) <= PAYLOAD_LIMIT_MIN
}

/// The most bytes of a request that [`fits_every_provider`], without what the settings add.
pub const FITTING_REQUEST_MAX: usize = (PAYLOAD_LIMIT_MIN - OVERHEAD_MAX) / GROWTH_MAX;

fn may_reach(to: &Audience, app: &App, platform: Platform) -> bool {
    app.has_platform(platform) && to.may_reach(platform)
}
