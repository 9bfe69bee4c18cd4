//! What the providers have to say about a request: overrides, something to send, size; for every lane that it may
//! go to.

use uuid::Uuid;

use super::content::Oversize;
use crate::api::error::is_form;
use crate::api::json::ValidationErrors;
use crate::audience::Audience;
use crate::domain::{App, Content, InputCode, NotificationId, Platform, ValidationError};
use crate::provider::{apns, fcm};

/// What a provider takes at the least (docs/providers.md#apns-request, #fcm-message).
const LEAST_LIMIT: usize = 4096;
/// How much longer than in the request its values can be in a message, which has each of them once: what FCM takes as
/// text is quoted within quotes.
const LONGER: usize = 4;
/// More than all that we add, but for the configured channel.
const OURS: usize = 512;

/// Adds the faults of meaning that depend on the providers. `asked`: bytes of the request.
pub(super) fn check(
    content: &Content,
    asked: usize,
    to: Option<&Audience>,
    app: &App,
    faults: &ValidationErrors,
) {
    check_overrides(content, app).into_iter().for_each(|fault| faults.push(fault));
    // A member of the wrong type, or with its name misspelt, may be the one that seems to be missing.
    if faults.any(is_form) {
        return;
    }
    if !content.silent && !content.shows_something() && !overrides_supply(content) {
        let detail =
            "a notification has a title, body, sound or badge, or is silent, or an override supplies them";
        faults.push(ValidationError::at("#", InputCode::NothingToSend, detail));
    }
    // The fields' own part in this is found where they are read.
    let overridden = apns::shows_something(content) || fcm::shows_something(content);
    if content.silent && !content.shows_something() && overridden {
        let detail = "an override brings something to see or hear, which a silent notification has not";
        faults.push(ValidationError::at("#/silent", InputCode::SilentWithContent, detail));
    }
    // What is faulty already may be too large only because of it.
    if !faults.is_empty() {
        return;
    }
    let Some(to) = to else { return };
    if fits_surely(asked, app) {
        return;
    }
    for platform in Platform::ALL {
        if may_go(to, app, platform) {
            check_size(content, platform, app).into_iter().for_each(|fault| faults.push(fault));
        }
    }
}

/// Adds a fault for each provider that would be sent a content that is larger than any provider takes.
pub(super) fn refuse(oversize: Oversize, to: Option<&Audience>, app: &App, faults: &ValidationErrors) {
    let Oversize { size, push_type } = oversize;
    let fault = |limit: usize| {
        ValidationError::at("#", InputCode::PayloadTooLarge, "larger than any provider takes")
            .with("size", size)
            .with("limit", limit)
    };
    let mut any = false;
    for platform in Platform::ALL {
        if to.is_some_and(|to| may_go(to, app, platform)) {
            let limit = match platform {
                Platform::Apns => push_type.payload_limit(),
                Platform::Fcm => LEAST_LIMIT,
            };
            faults.push(fault(limit).with("platform", platform.as_str()));
            any = true;
        }
    }
    if !any {
        faults.push(fault(LEAST_LIMIT));
    }
}

/// Is it so small that no provider can call it too large? Rendering it to find out is most of what a request costs.
fn fits_surely(asked: usize, app: &App) -> bool {
    asked * LONGER + OURS + app.fcm_channel.as_ref().map_or(0, String::len) <= LEAST_LIMIT
}

/// May a device of this service be among the targets?
fn may_go(to: &Audience, app: &App, platform: Platform) -> bool {
    app.has_platform(platform) && to.may_reach(platform)
}

fn check_overrides(content: &Content, app: &App) -> Vec<ValidationError> {
    let mut faults = apns::check_overrides(content, &app.apns_topics);
    faults.extend(fcm::check_overrides(content, &app.apns_topics));
    faults
}

fn overrides_supply(content: &Content) -> bool {
    apns::supplies_content(content) || fcm::supplies_content(content)
}

fn check_size(content: &Content, platform: Platform, app: &App) -> Vec<ValidationError> {
    // Ids are all of one length.
    let id = NotificationId(Uuid::nil());
    match platform {
        Platform::Apns => apns::check_size(content, id).into_iter().collect(),
        Platform::Fcm => fcm::check_size(content, id, app.fcm_channel.as_deref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::notifications::request::{Context, read};
    use crate::api::tests::app;
    use crate::domain::{InstallationKey, Ttl};

    /// Places that values of a request can be in, a unit to be repeated there, and how that is written.
    const LONG: &[(&str, &str, &str)] = &[
        (r#""title":""#, "a", r#"""#),
        (r#""body":""#, r"\u0001", r#"""#),
        (r#""body":""#, r#"\""#, r#"""#),
        (r#""title":"A","data":{"k":""#, r#"\""#, r#""}"#),
        (r#""title":"A","data":{"k":["a""#, r#","\\""#, "]}"),
        (r#""title":"A","data":{"k":[0"#, ",1e15", "]}"),
        (r#""title":"A","data":{"k":[0"#, ",1e-7", "]}"),
        (r#""title":"A","data":{"k":[{}"#, r#",{"":1e15}"#, "]}"),
        (r#""title":"A","apns":{"payload":{"k":[0"#, ",1e15", "]}}"),
        (r#""title":"A","fcm":{"apns":{"payload":{"k":[0"#, ",1e15", "]}}}"),
        (r#""title":"A","fcm":{"data":{"k":""#, r"\\", r#""}}"#),
        (r#""title":"A","fcm":{"android_v2":{"data":{"k":""#, r#"\""#, r#""}}}"#),
        (r#""title":"A","image":"https://example.com/"#, "a", r#"""#),
        (r#""title":"A","url":"https://example.com/"#, "a", r#"""#),
    ];

    #[test]
    fn whatever_fits_surely_is_not_too_large_for_any_provider() {
        let app = app();
        let most = (LEAST_LIMIT - OURS) / LONGER;
        let context = Context {
            app: &app,
            installation: &InstallationKey::new([7; 32]),
            targets_max: 5,
            default_ttl: Ttl::MAX,
        };
        for (before, unit, after) in LONG {
            let around = format!(r#"{{"to":{{"users":["u"]}},{before}"#);
            let times = (most - around.len() - after.len() - 1) / unit.len();
            let body = format!("{around}{}{after}}}", unit.repeat(times));
            assert!(fits_surely(body.len(), &app), "{body}");
            let content =
                read(body.as_bytes(), context).unwrap_or_else(|error| panic!("{body}: {error}")).content;
            for platform in Platform::ALL {
                assert_eq!(check_size(&content, platform, &app), [], "{body}");
            }
        }
    }

    #[test]
    fn what_may_be_too_large_is_rendered() {
        let app = app();
        assert!(!fits_surely(LEAST_LIMIT / LONGER, &app));
    }
}
