//! `[database]`: a Postgres of your own, or a folder for an embedded one.

use std::path::PathBuf;
use std::time::Duration;

use super::postgres_url::PostgresUrl;
use super::secret::Secret;
use super::section::Section;

/// `[database]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DatabaseSettings {
    /// Where Postgres is, with its password. None: an embedded one under [`Self::data_dir`].
    pub url: Option<Secret>,
    /// The embedded Postgres's folder.
    pub data_dir: PathBuf,
    /// Where `postgres` and `initdb` are. None: the newest that is found.
    pub postgres_bin_dir: Option<PathBuf>,
    /// Connections of one node, its own duties included.
    pub max_connections: u32,
    /// How long `serve` waits at its start for Postgres, or for another holder of [`Self::data_dir`].
    pub start_timeout: Duration,
    /// Does `serve` apply migrations at its start?
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
    /// `environment`: the user is `PGUSER` where the URL names none.
    pub(super) fn read(mut section: Section<'_>, environment: &[(String, String)]) -> Self {
        let default = Self::default();
        let settings = Self {
            url: section.secret("url", "url_file"),
            data_dir: section.path("data_dir").unwrap_or(default.data_dir),
            postgres_bin_dir: section.path("postgres_bin_dir"),
            max_connections: section.integer("max_connections", 2..=10_000, default.max_connections.into())
                as u32,
            start_timeout: section.duration("start_timeout", Duration::ZERO, default.start_timeout),
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

/// Without a user the driver would log in under a name of its own.
fn check(url: &str, has_default_user: bool) -> Result<(), String> {
    match PostgresUrl::parse(url)?.has_user() || has_default_user {
        true => Ok(()),
        false => Err("the user is missing: write postgres://user:password@host:5432/database".to_owned()),
    }
}
