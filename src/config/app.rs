//! `[apps.<name>]`: the settings of one app, which is one tenant.

use std::collections::BTreeMap;

use super::user_tokens::UserTokenSettings;
use super::webhooks::WebhookLacks;
use super::{cleanups, webhooks};
use crate::domain::{CleanupSchedule, Platform};
use crate::events::webhooks::DeclaredWebhooks;
use crate::provider::{AnySettings, Providers, SharedQuota};
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
    /// Clean-up runs that start by themselves. Their names differ.
    pub cleanups: Vec<CleanupSchedule>,
    /// Where its events are posted to.
    pub webhooks: DeclaredWebhooks,
}

impl AppSettings {
    /// Reads the section, and the section of each provider in it. None: one of them has faults. `reading` is what was read of
    /// the apps before.
    pub(super) fn read(
        app: &str,
        mut section: Section<'_>,
        providers: &Providers,
        reading: &mut AppReading,
    ) -> Option<Self> {
        if !is_name(app) {
            section.fault_of_table(
                "an app's name is 1 to 64 of A-Z, a-z, 0-9, '-' and '_', without two '_' in a row",
            );
        }
        let mut sections = Vec::new();
        for provider in providers.iter() {
            let platform = provider.platform();
            if let Some(own) = section.optional_section(platform.as_str()) {
                let settings = provider.read_settings(own);
                if let Some(quota) = settings.as_ref().and_then(AnySettings::quota)
                    && let Err(fault) = reading.quotas.add(app, platform, quota)
                {
                    section.fault(platform.as_str(), fault);
                }
                reading.sections.extend(settings.iter().map(|settings| ProviderSection {
                    app: app.to_owned(),
                    platform,
                    settings: settings.clone(),
                }));
                sections.push(settings.map(|settings| (platform, settings)));
            }
        }
        let user_tokens = section.optional_section("user_tokens");
        let user_tokens = user_tokens.map(|section| UserTokenSettings::read(app, section));
        let cleanups = cleanups::read(&mut section, &providers.platforms());
        let webhooks = webhooks::read(&mut section, reading.lacks);
        section.finish();
        let user_tokens = match user_tokens {
            None => None,
            Some(read) => Some(read?),
        };
        Some(Self {
            providers: sections.into_iter().collect::<Option<_>>()?,
            user_tokens,
            cleanups: cleanups?,
            webhooks: webhooks?,
        })
    }
}

/// What was read of the apps so far.
pub(super) struct AppReading {
    quotas: StatedQuotas,
    /// What webhooks would need and the configuration does not have.
    lacks: WebhookLacks,
    /// The sections of providers that have no fault.
    pub(super) sections: Vec<ProviderSection>,
}

impl AppReading {
    pub(super) fn new(lacks: WebhookLacks) -> Self {
        Self { quotas: StatedQuotas::default(), lacks, sections: Vec::new() }
    }
}

/// The section of a provider, `[apps.<name>.<provider>]`, without a fault.
pub(super) struct ProviderSection {
    pub(super) app: String,
    pub(super) platform: Platform,
    pub(super) settings: AnySettings,
}

/// The quota of each owner at each provider, with the app that stated it first.
#[derive(Default)]
struct StatedQuotas(BTreeMap<(Platform, String), (String, u32)>);

impl StatedQuotas {
    /// Adds what a section states. The fault, if the section of another app states another number for the same owner.
    fn add(&mut self, app: &str, platform: Platform, quota: SharedQuota) -> Result<(), String> {
        let SharedQuota { owner, messages_per_minute } = quota;
        let stated = self.0.entry((platform, owner.clone()));
        let (first, number) = stated.or_insert_with(|| (app.to_owned(), messages_per_minute));
        if *number == messages_per_minute {
            return Ok(());
        }
        Err(format!(
            "messages_per_minute is {messages_per_minute}, but {number} in apps.{first}.{platform}, \
             which shares the quota of \"{owner}\""
        ))
    }
}

fn is_name(app: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=NAME_MAX).contains(&app.len()) && app.bytes().all(known) && !app.contains("__")
}
