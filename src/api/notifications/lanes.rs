//! What the providers have to say about a request: overrides, something to send, size; for every lane that it may
//! go to.

use uuid::Uuid;

use super::content::shows_something;
use crate::api::error::is_form;
use crate::api::json::Faults;
use crate::domain::{App, Content, InputCode, InputFault, NotificationId, Platform};
use crate::provider::{apns, fcm};
use crate::registry::audience::Audience;

/// Adds the faults of meaning that depend on the providers.
pub(super) fn check(content: &Content, to: Option<&Audience>, app: &App, faults: &Faults) {
    check_overrides(content, app).into_iter().for_each(|fault| faults.push(fault));
    // A member of the wrong type, or with its name misspelt, may be the one that seems to be missing.
    if faults.any(is_form) {
        return;
    }
    if !content.silent && !shows_something(content) && !overrides_supply(content) {
        let detail =
            "a notification has a title, body, sound or badge, or is silent, or an override supplies them";
        faults.push(InputFault::at("#", InputCode::NothingToSend, detail));
    }
    // The fields' own part in this is found where they are read.
    let overridden = apns::shows_something(content) || fcm::supplies_content(content);
    if content.silent && !shows_something(content) && overridden {
        let detail = "an override brings something to see or hear, which a silent notification has not";
        faults.push(InputFault::at("#/silent", InputCode::SilentWithContent, detail));
    }
    // What is faulty already may be too large only because of it.
    if !faults.is_empty() {
        return;
    }
    let Some(to) = to else { return };
    for platform in Platform::ALL {
        if may_go(to, app, platform) {
            check_size(content, platform, app).into_iter().for_each(|fault| faults.push(fault));
        }
    }
}

/// May a device of this service be among the targets?
fn may_go(to: &Audience, app: &App, platform: Platform) -> bool {
    let wanted = to.platforms.as_ref().is_none_or(|some| some.contains(&platform));
    let configured = app.lanes.iter().any(|(key, lane)| key.platform() == platform && lane.configured);
    let addressed = to.all
        || !to.users.is_empty()
        || to.devices.iter().any(|(_, id)| id.is_some())
        || to.tokens.iter().any(|token| token.platform == platform);
    wanted && configured && addressed
}

fn check_overrides(content: &Content, app: &App) -> Vec<InputFault> {
    let mut faults = apns::check_overrides(content, &app.apns_topics);
    faults.extend(fcm::check_overrides(content, &app.apns_topics));
    faults
}

fn overrides_supply(content: &Content) -> bool {
    apns::supplies_content(content) || fcm::supplies_content(content)
}

fn check_size(content: &Content, platform: Platform, app: &App) -> Vec<InputFault> {
    // Ids are all of one length.
    let id = NotificationId(Uuid::nil());
    match platform {
        Platform::Apns => apns::check_size(content, id).into_iter().collect(),
        Platform::Fcm => fcm::check_size(content, id, app.fcm_channel.as_deref()),
    }
}
