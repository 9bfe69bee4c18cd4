//! `[apps.<name>]`: the settings of one app, which is one tenant.

use super::apns::ApnsSettings;
use super::fcm::FcmSettings;
use super::user_tokens::UserTokenSettings;
use crate::settings::Section;

/// Longest name of an app, in bytes.
const NAME_MAX: usize = 64;

/// The settings of `[apps.<name>]`. An app sends only through the providers that have a section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppSettings {
    /// Settings of the app's APNs lanes.
    pub apns: Option<ApnsSettings>,
    /// Settings of the app's FCM lane.
    pub fcm: Option<FcmSettings>,
    /// The keys that user tokens of the mobile app are verified with. Without them every user token is refused.
    pub user_tokens: Option<UserTokenSettings>,
}

impl AppSettings {
    pub(super) fn read(app: &str, mut section: Section<'_>) -> Option<Self> {
        if !is_name(app) {
            section.fault_of_table(
                "an app's name is 1 to 64 of A-Z, a-z, 0-9, '-' and '_', without two '_' in a row",
            );
        }
        let apns = section.optional_section("apns").map(ApnsSettings::read);
        let fcm = section.optional_section("fcm").map(FcmSettings::read);
        let tokens =
            section.optional_section("user_tokens").map(|tokens| UserTokenSettings::read(app, tokens));
        section.finish();
        // An inner None means that the section has reported its faults.
        Some(Self { apns: flat(apns)?, fcm: flat(fcm)?, user_tokens: flat(tokens)? })
    }
}

/// `None` for a faulty section, `Some(None)` for an absent one.
fn flat<T>(settings: Option<Option<T>>) -> Option<Option<T>> {
    match settings {
        None => Some(None),
        Some(read) => read.map(Some),
    }
}

fn is_name(app: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=NAME_MAX).contains(&app.len()) && app.bytes().all(known) && !app.contains("__")
}
