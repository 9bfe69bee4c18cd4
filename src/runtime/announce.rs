//! The first lines of a service's log, written before anything is opened: the program, the configuration file, the
//! database, and the apps with their lanes.
//!
//! They show an operator a misspelt setting, a configuration file that is not read, and a database other than the
//! expected one.

use std::path::{Path, PathBuf};

use super::{Role, postgres, senders};
use crate::config::{AppSettings, Config, PostgresUrl, Sources};
use crate::settings::Secret;
use crate::store;

/// Usual places of a configuration file. None of them is read unless it is named, so a file there is worth a warning.
const UNNAMED_FILES: [&str; 4] =
    ["pushpost.toml", "config.toml", "/etc/pushpost/pushpost.toml", "/etc/pushpost/config.toml"];

/// Writes the first lines of a service's log.
pub fn announce(config: &Config, sources: &Sources, role: Role) {
    tracing::info!(version = env!("CARGO_PKG_VERSION"), role = role.name(), "pushpost starts");
    log_configuration_file(sources);
    for (variable, meant) in sources.variables_without_effect(config) {
        let hint = meant.map_or_else(
            || {
                "settings have names such as PUSHPOST__SECTION__KEY; the database is set by DATABASE_URL"
                    .to_owned()
            },
            |meant| format!("did you mean {meant}?"),
        );
        tracing::warn!(variable, hint, "environment variable has no effect");
    }
    match &config.database.url {
        Some(url) => log_server(url),
        None => log_embedded(&config.database.data_dir),
    }
    if role.has_api() && !config.server.listen.ip().is_loopback() && config.server.trusted_proxies.is_empty()
    {
        tracing::warn!(
            listen = %config.server.listen,
            hint = "without a proxy that does TLS, keys are sent unencrypted; add the proxy's address to \
                    server.trusted_proxies",
            "server.listen is reachable from other hosts, and no proxy is trusted"
        );
    }
    if let Some(proxy) = config.network.shown() {
        let no_proxy = config.network.no_proxy.join(", ");
        tracing::info!(proxy, no_proxy, "providers are reached through a proxy");
    }
    log_apps(config);
}

fn log_configuration_file(sources: &Sources) {
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

/// Logs the hosts of the Postgres server as the connections use them.
fn log_server(url: &Secret) {
    // The configuration has checked the URL; a value that only the driver refuses is reported when it is used.
    let Ok(url) = PostgresUrl::parse(url.expose()) else { return };
    let Ok(hosts) = postgres::hosts_of(&url) else { return };
    let Some(first) = hosts.first() else { return };
    let user = first.get_username();
    let database = first.get_database().unwrap_or(user);
    tracing::info!(server = store::addresses(&hosts), database, user, "database is on a Postgres server");
}

fn log_embedded(data_dir: &Path) {
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

fn log_apps(config: &Config) {
    if config.apps.is_empty() {
        tracing::warn!(
            hint = "name a configuration file by --config with a table such as [apps.shop.apns]",
            "no app is configured, so every request is refused"
        );
        return;
    }
    let apps = config.apps.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let lanes =
        senders::lanes(config).map(|(app, key)| format!("{app}/{key}")).collect::<Vec<_>>().join(", ");
    tracing::info!(apps, lanes, "apps are configured");
    warn_without_provider(config.apps.iter());
}

/// Warns of each app without a provider, which a misspelt name in a table such as `[[apps.<name>.cleanups]]` makes.
pub(super) fn warn_without_provider<'a>(apps: impl Iterator<Item = (&'a String, &'a AppSettings)>) {
    for (app, _) in apps.filter(|(_, settings)| settings.providers.is_empty()) {
        tracing::warn!(
            app,
            hint = "if the name is misspelt, correct it; else add a table such as [apps.<name>.fcm]",
            "app has no provider, so nothing is sent for it"
        );
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Whether the folder, or the part of its path that exists, is on the writable layer of a container.
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
