//! What the log says at a start, before anything is opened: one line each for the program, the configuration file, the
//! database, and the apps with their lanes.
//!
//! A setting that was misspelt, or a file that was never named, is seen in these lines at once. So is the place of the
//! database: an operator who expected another one reads it here.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

use super::Role;
use super::senders;
use crate::config::{Config, Secret, Sources};

/// Where a configuration file may lie without being named. None of them is read.
const UNNAMED_FILES: [&str; 4] =
    ["pushpost.toml", "config.toml", "/etc/pushpost/pushpost.toml", "/etc/pushpost/config.toml"];

/// Writes the first lines of a service's log.
pub fn announce(config: &Config, sources: &Sources, role: Role) {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), role = role.name(), "pushpost starts");
    configuration(sources);
    for (variable, meant) in sources.variables_without_effect(config) {
        let hint = meant.map_or_else(
            || "settings are PUSHPOST__SECTION__KEY; a database is DATABASE_URL".to_owned(),
            |meant| format!("did you mean {meant}?"),
        );
        tracing::warn!(variable, hint, "environment variable has no effect");
    }
    match &config.database.url {
        Some(url) => foreign(url),
        None => embedded(&config.database.data_dir),
    }
    if role.answers() && !config.server.listen.ip().is_loopback() && config.server.trusted_proxies.is_empty()
    {
        tracing::warn!(
            listen = %config.server.listen,
            hint = "keys travel unencrypted without a proxy that does TLS; add the proxy's address to \
                    server.trusted_proxies",
            "server.listen is reachable from other hosts, and no proxy is trusted"
        );
    }
    if let Some(proxy) = config.network.shown() {
        let no_proxy = config.network.no_proxy.join(", ");
        tracing::info!(proxy, no_proxy, "providers are reached through a proxy");
    }
    apps(config);
}

fn configuration(sources: &Sources) {
    match sources.file() {
        Some(file) => tracing::info!(file = %absolute(file).display(), "configuration file is read"),
        None => tracing::info!("no configuration file; defaults and environment variables apply"),
    }
    let unread = UNNAMED_FILES.iter().filter(|file| sources.file().is_none() && Path::new(file).is_file());
    for file in unread {
        tracing::warn!(
            file,
            hint = "name the file by --config or PUSHPOST_CONFIG",
            "configuration file is there and not read"
        );
    }
}

/// A database that another server has. A URL that can't be read is told when it is used.
fn foreign(url: &Secret) {
    let Ok(options) = PgConnectOptions::from_str(url.expose()) else { return };
    let socket = options.get_socket().map(|folder| folder.display().to_string());
    let host = socket.unwrap_or_else(|| options.get_host().to_owned());
    let user = options.get_username();
    let database = options.get_database().unwrap_or(user);
    tracing::info!(host, port = options.get_port(), database, user, "database is on a Postgres server");
}

fn embedded(data_dir: &Path) {
    let data_dir = absolute(data_dir);
    tracing::info!(
        data_dir = %data_dir.display(),
        hint = "set database.url or DATABASE_URL to use a Postgres server",
        "database is an embedded Postgres"
    );
    if is_on_overlay(&data_dir) {
        tracing::warn!(
            data_dir = %data_dir.display(),
            hint = "mount a volume there, or set database.url",
            "data folder is on an overlay file system and ends with its container"
        );
    }
}

fn apps(config: &Config) {
    if config.apps.is_empty() {
        tracing::warn!(
            hint = "name a configuration file by --config that has a table such as [apps.shop.apns]",
            "no app is configured, so every request is refused"
        );
        return;
    }
    let apps = config.apps.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let lanes =
        senders::lanes(config).map(|(app, key)| format!("{app}/{key}")).collect::<Vec<_>>().join(", ");
    tracing::info!(apps, lanes, "apps are configured");
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Is the folder, or what of its path is there already, on the writable layer of a container?
#[cfg(target_os = "linux")]
fn is_on_overlay(folder: &Path) -> bool {
    /// `OVERLAYFS_SUPER_MAGIC` of Linux's `magic.h`.
    const OVERLAY: u64 = 0x794c_7630;
    let existing = folder.ancestors().find(|folder| folder.exists());
    let found = existing.and_then(|folder| rustix::fs::statfs(folder).ok());
    found.is_some_and(|system| u64::try_from(system.f_type).is_ok_and(|kind| kind == OVERLAY))
}

#[cfg(not(target_os = "linux"))]
fn is_on_overlay(_folder: &Path) -> bool {
    false
}
