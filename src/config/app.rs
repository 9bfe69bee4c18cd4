//! `[apps.<name>]`: one tenant.

use super::apns::ApnsSettings;
use super::fcm::FcmSettings;
use super::section::Section;
use super::user_tokens::UserTokenSettings;

/// Longest name of an app, in bytes.
const NAME_MAX: usize = 64;

/// `[apps.<name>]`. A provider that isn't there is one that the app does not send through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppSettings {
    /// APNs.
    pub apns: Option<ApnsSettings>,
    /// FCM.
    pub fcm: Option<FcmSettings>,
    /// How a mobile app proves who its user is; without it no user token is taken.
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
        // Each inner None has told its faults.
        Some(Self { apns: flat(apns)?, fcm: flat(fcm)?, user_tokens: flat(tokens)? })
    }
}

/// Absent is fine, faulty is not.
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
