//! The configuration: defaults, overridden by the file, overridden by the environment. One file per section.
//!
//! Reading reports all faults at once. Files that the configuration names are read with it, so that two configurations
//! are equal if and only if nothing has changed. `config.example.toml` describes every key.

mod app;
mod changes;
mod check;
mod cleanups;
mod database;
mod delivery;
mod environment;
mod error;
mod limits;
mod network;
mod overlay;
mod postgres_url;
mod retention;
mod server;
mod sources;
mod telemetry;
#[cfg(test)]
mod tests;
mod user_tokens;
mod webhooks;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use app::AppSettings;
pub use check::CheckedConfig;
pub use database::DatabaseSettings;
pub use delivery::DeliverySettings;
pub use error::Error;
pub use limits::LimitSettings;
pub use network::NetworkSettings;
pub use postgres_url::{PostgresHost, PostgresUrl};
pub use retention::{RETENTION_MAX, RetentionSettings};
pub use server::ServerSettings;
pub use sources::Sources;
pub use telemetry::TelemetrySettings;
pub use user_tokens::{UserTokenKey, UserTokenSettings};
pub use webhooks::WebhookLimits;

use crate::provider::Providers;
use crate::settings::tree::{self, Table};
use crate::settings::{ConfigFault, ConfigFile, ContentHasher, ReadContext, Section};
use app::{AppReading, ProviderSection};
use webhooks::WebhookLacks;

/// The whole configuration. Its `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Config {
    /// The providers of the service. Each has the sections `[apps.<name>.<provider>]`, which it reads itself.
    pub providers: Providers,
    /// The section `[server]`.
    pub server: ServerSettings,
    /// The section `[network]`.
    pub network: NetworkSettings,
    /// The section `[database]`.
    pub database: DatabaseSettings,
    /// The section `[delivery]`.
    pub delivery: DeliverySettings,
    /// The section `[limits]`.
    pub limits: LimitSettings,
    /// The section `[retention]`.
    pub retention: RetentionSettings,
    /// The section `[telemetry]`.
    pub telemetry: TelemetrySettings,
    /// The section `[webhooks]`.
    pub webhooks: WebhookLimits,
    /// The sections `[apps.<name>]`, by name.
    pub apps: BTreeMap<String, AppSettings>,
}

impl Config {
    /// Reads the file, if there is one, overrides it by the environment, and reads the files that both name. The providers
    /// are the built-in ones; [`Sources`] reads a configuration with further ones.
    ///
    /// Variables are `PUSHPOST__SECTION__KEY`, `DATABASE_URL` for `database.url`, and `HTTPS_PROXY` with `NO_PROXY` if
    /// `[network]` names no proxy, and the variables of OpenTelemetry for what `[telemetry]` leaves out. A variable with the words of a key but other underscores is a fault.
    ///
    /// # Errors
    /// The file can't be read, or all faults in it, in the environment and in the named files.
    pub fn load(path: Option<&Path>, env: impl Iterator<Item = (String, String)>) -> Result<Self, Error> {
        Self::load_with(path, env, Providers::default(), &ContentHasher::default())
    }

    /// As [`Self::load`], with these providers. Adds everything that is read to `hasher`.
    fn load_with(
        path: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        providers: Providers,
        hasher: &ContentHasher,
    ) -> Result<Self, Error> {
        let read = Self::read_sources(path, env, providers, hasher)?;
        if read.faults.is_empty() { Ok(read.config) } else { Err(Error::Faults(read.faults)) }
    }

    /// As [`Self::load_with`], with the faults beside what could be read.
    ///
    /// # Errors
    /// The file can't be read, or it is not TOML.
    fn read_sources(
        path: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        providers: Providers,
        hasher: &ContentHasher,
    ) -> Result<ReadSources, Error> {
        let (mut table, mut faults) = (Table::new(), Vec::new());
        if let Some(path) = path {
            let read = std::fs::read_to_string(path);
            hasher.add(&read);
            let text = read.map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
            table = tree::parse(&text, path).map_err(Error::Faults)?;
        }
        let environment: Vec<_> = env.collect();
        faults.extend(overlay::apply(&mut table, environment.iter().cloned(), &providers));
        let folder = path.and_then(Path::parent).map_or_else(PathBuf::new, Path::to_owned);
        let reading = ReadContext::new(folder, faults, hasher);
        let mut sections = Vec::new();
        let config = Self::read(Section::root(&reading, &table), &environment, providers, &mut sections);
        let (faults, files) = reading.into_faults_and_files();
        Ok(ReadSources { config, faults, files, sections, table })
    }

    /// Adds the sections of providers that have no fault to `sections`.
    fn read(
        mut root: Section<'_>,
        environment: &[(String, String)],
        providers: Providers,
        sections: &mut Vec<ProviderSection>,
    ) -> Self {
        let retention = RetentionSettings::read(root.section("retention"));
        let webhooks = WebhookLimits::read(root.section("webhooks"));
        let reading = AppReading::new(WebhookLacks {
            events: retention.events.is_zero(),
            networks: webhooks.allow_networks.is_empty(),
        });
        let config = Self {
            server: ServerSettings::read(root.section("server")),
            network: NetworkSettings::read(root.section("network"), environment),
            database: DatabaseSettings::read(root.section("database"), environment),
            delivery: DeliverySettings::read(root.section("delivery")),
            limits: LimitSettings::read(root.section("limits")),
            retention,
            telemetry: TelemetrySettings::read(root.section("telemetry"), environment),
            webhooks,
            apps: apps(&root.section("apps"), &providers, reading, sections),
            providers,
        };
        root.finish();
        config
    }
}

/// What the sources hold, as far as it could be read.
struct ReadSources {
    /// Without the apps that have a fault, and with defaults in place of other faulty values.
    config: Config,
    faults: Vec<ConfigFault>,
    files: Vec<ConfigFile>,
    /// The sections of providers without a fault, also those of apps that have one elsewhere.
    sections: Vec<ProviderSection>,
    table: Table,
}

fn apps(
    section: &Section<'_>,
    providers: &Providers,
    mut reading: AppReading,
    sections: &mut Vec<ProviderSection>,
) -> BTreeMap<String, AppSettings> {
    let apps = section.named_sections().into_iter();
    let apps = apps.filter_map(|(name, app)| {
        let settings = AppSettings::read(&name, app, providers, &mut reading)?;
        Some((name, settings))
    });
    let apps = apps.collect();
    sections.append(&mut reading.sections);
    apps
}
