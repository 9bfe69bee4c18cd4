//! The configuration: defaults, then the file, then the environment.
//!
//! ReadContext collects every fault before it gives up. What the configuration names in other files is read with it, so
//! that two configurations are equal exactly when nothing has changed. `config.example.toml` describes every key.

mod apns;
mod app;
mod changes;
mod database;
mod delivery;
mod endpoint;
mod environment;
mod error;
mod fcm;
mod google;
mod limits;
mod network;
mod postgres_url;
mod retention;
mod secret;
mod section;
mod server;
mod sources;
#[cfg(test)]
mod tests;
mod tree;
mod user_tokens;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use apns::ApnsSettings;
pub use app::AppSettings;
pub use database::DatabaseSettings;
pub use delivery::DeliverySettings;
pub use endpoint::{BadEndpoint, Endpoint};
pub use error::{ConfigFault, Error, SettingPlace};
pub use fcm::FcmSettings;
pub use google::GoogleCredential;
pub use limits::LimitSettings;
pub use network::NetworkSettings;
pub use postgres_url::{PostgresHost, PostgresUrl};
pub use retention::RetentionSettings;
pub use secret::{CaFile, Secret};
use section::{ReadContext, Section};
pub use server::ServerSettings;
use sources::ContentHasher;
pub use sources::{ContentHash, Sources};
use tree::Table;
pub use user_tokens::{UserTokenAlgorithm, UserTokenKey, UserTokenSettings};

/// All that is configured. Its `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Config {
    /// `[server]`.
    pub server: ServerSettings,
    /// `[network]`.
    pub network: NetworkSettings,
    /// `[database]`.
    pub database: DatabaseSettings,
    /// `[delivery]`.
    pub delivery: DeliverySettings,
    /// `[limits]`.
    pub limits: LimitSettings,
    /// `[retention]`.
    pub retention: RetentionSettings,
    /// `[apps.<name>]`, by name.
    pub apps: BTreeMap<String, AppSettings>,
}

impl Config {
    /// Reads the file, if there is one, lays the environment over it and reads the files that they name.
    ///
    /// Variables are `PUSHPOST__SECTION__KEY`, `DATABASE_URL` for `database.url`, and `HTTPS_PROXY` with `NO_PROXY` where
    /// `[network]` names no proxy. A key that is spelt with other
    /// underscores is a fault.
    pub fn load(path: Option<&Path>, env: impl Iterator<Item = (String, String)>) -> Result<Self, Error> {
        Self::load_hashing(path, env, &ContentHasher::default())
    }

    /// The same, with what was read marked.
    fn load_hashing(
        path: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        hasher: &ContentHasher,
    ) -> Result<Self, Error> {
        let (mut table, mut faults) = (Table::new(), Vec::new());
        if let Some(path) = path {
            let read = std::fs::read_to_string(path);
            hasher.mark(&read);
            let text = read.map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
            table = tree::parse(&text, path).map_err(Error::Faults)?;
        }
        let environment: Vec<_> = env.collect();
        faults.extend(tree::overlay(&mut table, environment.iter().cloned()));
        let folder = path.and_then(Path::parent).map_or_else(PathBuf::new, Path::to_owned);
        let reading = ReadContext::new(folder, faults, hasher);
        let config = Self::read(Section::root(&reading, &table), &environment);
        let mut faults = reading.into_faults();
        faults.sort_by(|a, b| a.place.cmp(&b.place));
        if faults.is_empty() { Ok(config) } else { Err(Error::Faults(faults)) }
    }

    fn read(mut root: Section<'_>, environment: &[(String, String)]) -> Self {
        let config = Self {
            server: ServerSettings::read(root.section("server")),
            network: NetworkSettings::read(root.section("network"), environment),
            database: DatabaseSettings::read(root.section("database"), environment),
            delivery: DeliverySettings::read(root.section("delivery")),
            limits: LimitSettings::read(root.section("limits")),
            retention: RetentionSettings::read(root.section("retention")),
            apps: apps(&root.section("apps")),
        };
        root.finish();
        config
    }
}

fn apps(section: &Section<'_>) -> BTreeMap<String, AppSettings> {
    let apps = section.named_sections().into_iter();
    apps.filter_map(|(name, app)| Some((name.clone(), AppSettings::read(&name, app)?))).collect()
}
