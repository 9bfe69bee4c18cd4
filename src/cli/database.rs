//! The database and the app that a command works on without the service: for `keys`, `devices` and the like.

use std::sync::Arc;

use super::command_error::CommandError;
use super::progress;
use crate::config::Config;
use crate::domain::App;
use crate::runtime::{Database, SchemaAccess};

/// Opens the database, and checks its schema. With [`SchemaAccess::Create`] the schema is created where there is none,
/// so that a command works before the service has run.
///
/// # Errors
/// The database can't be reached, or its schema is not the one of this program.
pub(super) async fn open(config: &Config, access: SchemaAccess) -> Result<Database, CommandError> {
    let database = progress::watched("opening the database", Database::open(config, access)).await?;
    if let Err(refused) = progress::watched("applying migrations", database.admit(access)).await {
        database.close().await?;
        return Err(refused.into());
    }
    Ok(database)
}

/// Which database a command worked on, for people: the data folder of the embedded one, else servers and name.
pub(super) fn location(config: &Config, database: &Database) -> String {
    if config.database.url.is_none() {
        return config.database.data_dir.display().to_string();
    }
    let servers = database.pool().addresses();
    match database.pool().database_name() {
        Some(name) => format!("{servers}/{name}"),
        None => servers,
    }
}

/// # Errors
/// The configuration has no app of this name.
pub(super) fn require_app(config: &Config, app: &str) -> Result<(), CommandError> {
    if config.apps.contains_key(app) {
        return Ok(());
    }
    let names: Vec<_> = config.apps.keys().map(String::as_str).collect();
    let failure = CommandError::failed(format_args!("the configuration has no app {app:?}"));
    Err(failure.hint(match names.as_slice() {
        [] => format!("it has no app at all; name a file by --config with a table such as [apps.{app}.apns]"),
        names => format!("it has {}", names.join(", ")),
    }))
}

/// The name of the app that a command is for: the named one, else the only one of the configuration.
///
/// # Errors
/// The configuration has no such app, no app, or several and none was named.
pub(super) fn resolve_app<'a>(config: &'a Config, named: Option<&'a str>) -> Result<&'a str, CommandError> {
    let mut apps = config.apps.keys();
    match (named, apps.next(), apps.next()) {
        (Some(name), ..) => require_app(config, name).map(|()| name),
        (None, Some(only), None) => Ok(only),
        (None, None, _) => {
            let failure = CommandError::failed("the configuration has no app");
            Err(failure.hint("name a file by --config with a table such as [apps.shop.apns]"))
        }
        (None, Some(_), Some(_)) => {
            let names: Vec<_> = config.apps.keys().map(String::as_str).collect();
            let failure = CommandError::usage("--app is missing");
            Err(failure.hint(format!("the configuration has {}", names.join(", "))))
        }
    }
}

/// An app of the configuration. Its rows in the database are created if they are missing.
pub(super) async fn app(database: &Database, config: &Config, name: &str) -> Result<Arc<App>, CommandError> {
    let apps = database.apps(config).await?;
    let found = apps.into_values().find(|app| app.name == name);
    found.ok_or_else(|| CommandError::failed(format_args!("the database has no app {name:?}")))
}
