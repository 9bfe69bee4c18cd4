//! `[database]`: the URL of a Postgres server, or the folder of the embedded one; connections and migrations.

use std::path::PathBuf;
use std::time::Duration;

use super::postgres_url::PostgresUrl;
use crate::settings::{Secret, Section};

/// The longest `database.start_timeout`: a day.
const START_TIMEOUT_MAX: Duration = Duration::from_secs(86_400);

/// The settings of the section `[database]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DatabaseSettings {
    /// The URL of the server, with its password. None: an embedded Postgres under [`Self::data_dir`].
    pub url: Option<Secret>,
    /// The folder of the embedded Postgres.
    pub data_dir: PathBuf,
    /// The folder of `postgres` and `initdb`. None: the newest version that is found.
    pub postgres_bin_dir: Option<PathBuf>,
    /// Connections of one node, including those of its background tasks.
    pub max_connections: u32,
    /// How long the start of `serve` waits for Postgres, or for another process that uses [`Self::data_dir`].
    pub start_timeout: Duration,
    /// Whether the start of `serve` applies migrations.
    pub migrate: bool,
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self {
            url: None,
            data_dir: PathBuf::from("./pushpost-data"),
            postgres_bin_dir: None,
            max_connections: 16,
            start_timeout: Duration::from_secs(60),
            migrate: true,
        }
    }
}

impl DatabaseSettings {
    /// `environment` may have `PGUSER`, the user if the URL names none.
    pub(super) fn read(mut section: Section<'_>, environment: &[(String, String)]) -> Self {
        let default = Self::default();
        let settings = Self {
            url: section.secret("url", "url_file"),
            data_dir: section.path("data_dir").unwrap_or(default.data_dir),
            postgres_bin_dir: section.path("postgres_bin_dir"),
            max_connections: section.integer("max_connections", 2..=10_000, default.max_connections.into())
                as u32,
            start_timeout: section.duration(
                "start_timeout",
                Duration::ZERO..=START_TIMEOUT_MAX,
                default.start_timeout,
            ),
            migrate: section.flag("migrate", default.migrate),
        };
        let has_default_user = environment.iter().any(|(name, value)| name == "PGUSER" && !value.is_empty());
        if let Some(url) = &settings.url
            && let Err(fault) = check(url.expose(), has_default_user)
        {
            let key = if url.file().is_some() { "url_file" } else { "url" };
            section.fault(key, fault);
        }
        section.finish();
        settings
    }
}

/// A URL must have a user, because otherwise the driver uses the name of the system's user.
fn check(url: &str, has_default_user: bool) -> Result<(), String> {
    match PostgresUrl::parse(url)?.has_user() || has_default_user {
        true => Ok(()),
        false => Err("the user is missing: write postgres://user:password@host:5432/database".to_owned()),
    }
}
