//! A provider that is not built in, with a section of its own in the configuration of an app.

use super::*;
use crate::domain::{
    App, BadToken, Content, Environments, Kind, OperatorAdvice, Platform, PlatformFacts, ProviderDefaults,
    ValidationError,
};
use crate::provider::{AnySettings, LaneOptions, Provider, ProviderSettings, Sender, SetupError};

const FACTS: &PlatformFacts = &PlatformFacts {
    name: "pigeon",
    title: "Pigeon",
    token_title: "a loft",
    code: 91,
    environments: Environments::None,
    kinds: &[Kind::Alert],
    parse_token: |_| Err(BadToken("there are no lofts")),
    has_object_tokens: false,
    names_messages: false,
    other_environment_reason: None,
    advice: OperatorAdvice::GENERAL,
};

const PLATFORM: Platform = Platform::new(FACTS);

#[derive(Debug)]
struct Pigeon;

#[derive(PartialEq, Eq, Debug)]
struct PigeonSettings {
    loft: String,
    seed: crate::settings::Secret,
}

impl Provider for Pigeon {
    fn platform(&self) -> Platform {
        PLATFORM
    }

    fn read_settings(&self, mut section: Section<'_>) -> Option<AnySettings> {
        let (loft, seed) = (section.text("loft"), section.secret("seed", "seed_file"));
        let (loft, seed) = (section.required("loft", loft), section.required("seed", seed));
        section.finish();
        Some(AnySettings::new(PigeonSettings { loft: loft?, seed: seed? }))
    }

    fn check_size(&self, _: &Content, _: &App) -> Vec<ValidationError> {
        Vec::new()
    }
}

impl ProviderSettings for PigeonSettings {
    fn defaults(&self) -> ProviderDefaults {
        ProviderDefaults::default()
    }

    fn changes_for_restart(&self, new: &Self) -> Vec<&'static str> {
        (self.loft != new.loft).then_some("loft").into_iter().collect()
    }

    fn connections_max(&self, _: u32) -> usize {
        1
    }

    async fn open(&self, lane: LaneOptions) -> Result<Sender, SetupError> {
        Err(SetupError::Setting(format!("{} has no roof", lane.key)))
    }
}

const SECTION: &str = "[apps.shop.pigeon]\nloft = \"north\"\nseed = \"hunter2\"\n";

fn load(toml: &str, env: &[(&str, &str)]) -> Result<Config, Error> {
    let folder = Folder::new(toml);
    let sources = Sources::new(Some(&folder.0.path().join("pushpost.toml")), pairs(env));
    sources.with_providers(Providers::with(&[&Pigeon])).load()
}

fn loft(config: &Config) -> &str {
    &config.apps["shop"].providers[&PLATFORM].get::<PigeonSettings>().unwrap().loft
}

#[test]
fn a_further_provider_reads_its_own_section() {
    let config = load(&format!("{SHOP}{SECTION}"), &[]).unwrap();
    assert_eq!((loft(&config), config.providers.iter().count()), ("north", 3));
    assert_eq!(apns_of(&config.apps["shop"]).topic, "com.example.shop");
    assert!(config.apps["shop"].providers[&PLATFORM].get::<ApnsSettings>().is_none());
    let shown = format!("{config:?}");
    assert!(shown.contains("north") && !shown.contains("hunter2"), "{shown}");

    let error = load("[apps.shop.pigeon]\nloff = \"north\"\n", &[]).unwrap_err();
    let told: Vec<_> =
        error.faults().iter().map(|fault| format!("{}: {}", fault.key, fault.message)).collect();
    assert_eq!(
        told,
        [
            "apps.shop.pigeon.loft: is missing",
            "apps.shop.pigeon.seed: is missing (or seed_file)",
            "apps.shop.pigeon.loff: unknown key"
        ]
    );
    let told = faults(SECTION, &[]);
    assert!(told[0].contains("apps.shop.pigeon: unknown key"), "only where the provider is known: {told:?}");
}

#[test]
fn variables_set_the_keys_of_a_further_provider() {
    let config = load(SECTION, &[("PUSHPOST__APPS__SHOP__PIGEON__LOFT", "south")]).unwrap();
    assert_eq!(loft(&config), "south");
    let error = load(SECTION, &[("PUSHPOST_APPS_SHOP_PIGEON_SEED_FILE", "x")]).unwrap_err();
    let meant: Vec<_> = error.faults().iter().filter_map(|fault| fault.suggestion.as_deref()).collect();
    assert_eq!(meant, ["PUSHPOST__APPS__SHOP__PIGEON__SEED_FILE"]);
}

#[test]
fn settings_of_providers_differ_and_change_by_section() {
    let seed = ("PUSHPOST__APPS__SHOP__PIGEON__SEED", "other");
    let section = |config: &Config| config.apps["shop"].providers[&PLATFORM].clone();
    let before = load(&format!("{SHOP}{SECTION}"), &[]).unwrap();
    assert_eq!(section(&before), section(&load(SECTION, &[]).unwrap()));
    assert_ne!(section(&before), section(&load(SECTION, &[seed]).unwrap()));
    assert_ne!(section(&before), before.apps["shop"].providers[&apns::PLATFORM]);

    let apps_changed = |after: &Config| {
        let mut keys = before.changes_for_restart(after);
        keys.retain(|key| key.starts_with("apps"));
        keys
    };
    let moved = SECTION.replace("north", "south");
    assert_eq!(apps_changed(&load(&format!("{SHOP}{SECTION}"), &[seed]).unwrap()), [""; 0]);
    assert_eq!(apps_changed(&load(&format!("{SHOP}{moved}"), &[]).unwrap()), ["apps.shop.pigeon.loft"]);
    assert_eq!(apps_changed(&load(SHOP, &[]).unwrap()), ["apps.shop.pigeon (removed)"]);
    assert_eq!(section(&load(SHOP, &[]).unwrap().with_added_apps(&before)), section(&before));
}
