//! `[apps.<name>]`: the settings of one app, which is one tenant.

use std::collections::BTreeMap;

use super::user_tokens::UserTokenSettings;
use crate::domain::Platform;
use crate::provider::{AnySettings, Providers};
use crate::settings::Section;

/// Longest name of an app, in bytes.
const NAME_MAX: usize = 64;

/// The settings of `[apps.<name>]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppSettings {
    /// The settings of each provider that has a section. The app sends through no other.
    pub providers: BTreeMap<Platform, AnySettings>,
    /// The keys that user tokens of the mobile app are verified with. Without them every user token is refused.
    pub user_tokens: Option<UserTokenSettings>,
}

impl AppSettings {
    /// Reads the section, and the section of each provider in it. None: one of them has faults.
    pub(super) fn read(app: &str, mut section: Section<'_>, providers: &Providers) -> Option<Self> {
        if !is_name(app) {
            section.fault_of_table(
                "an app's name is 1 to 64 of A-Z, a-z, 0-9, '-' and '_', without two '_' in a row",
            );
        }
        let mut sections = Vec::new();
        for provider in providers.iter() {
            let platform = provider.platform();
            if let Some(section) = section.optional_section(platform.as_str()) {
                sections.push(provider.read_settings(section).map(|settings| (platform, settings)));
            }
        }
        let user_tokens = section.optional_section("user_tokens");
        let user_tokens = user_tokens.map(|section| UserTokenSettings::read(app, section));
        section.finish();
        let user_tokens = match user_tokens {
            None => None,
            Some(read) => Some(read?),
        };
        Some(Self { providers: sections.into_iter().collect::<Option<_>>()?, user_tokens })
    }
}

fn is_name(app: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=NAME_MAX).contains(&app.len()) && app.bytes().all(known) && !app.contains("__")
}
