//! `pushpost keys`: creates, lists and revokes API keys, directly in the database.

use std::fmt;
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::audit;
use super::command_error::CommandError;
use super::config_args::ConfigArgs;
use super::database::{location, open, require_app};
use super::output;
use crate::domain::{BadId, BadScopes, KeyId, Scopes, parse_duration};
use crate::registry::keys::{self, CreatedKey};
use crate::runtime::{Database, SchemaAccess};
use crate::store::keys::KeyRow;

/// Create, list and revoke API keys
#[derive(Args, Debug)]
pub(super) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Subcommand, Debug)]
enum KeysCommand {
    Create(Create),
    List(List),
    Revoke(Revoke),
}

/// Create a key, and print its secret on stdout; it can't be shown again
#[derive(Args, Debug)]
struct Create {
    /// The key's app, by its name in the configuration
    #[arg(long, value_name = "APP")]
    app: String,
    /// What the key may do: send, read, devices, register, admin, separated by commas; register only alone
    #[arg(long, value_name = "LIST", value_parser = scopes)]
    scope: Scopes,
    /// A name to recognise the key by
    #[arg(long, value_name = "N")]
    name: Option<String>,
    /// End the key by itself after this time: digits and one of ms, s, m, h, d, w, such as 90d
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    expires: Option<Duration>,
    /// Print JSON, with the key's id
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// List all keys with their last use, to the hour, without their secrets
#[derive(Args, Debug)]
struct List {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Revoke a key; every node refuses it within 10 seconds
#[derive(Args, Debug)]
struct Revoke {
    /// The key's id (key_…), not its secret
    // Not parsed by clap, because its message would repeat a secret that was pasted here.
    #[arg(value_name = "ID")]
    id: String,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

impl KeysArgs {
    pub(super) async fn run(self) -> Result<(), CommandError> {
        match self.command {
            KeysCommand::Create(create) => create.run().await,
            KeysCommand::List(list) => list.run().await,
            KeysCommand::Revoke(revoke) => revoke.run().await,
        }
    }
}

impl Create {
    async fn run(self) -> Result<(), CommandError> {
        let config = self.config.load()?;
        require_app(&config, &self.app)?;
        let database = open(&config, SchemaAccess::Create).await?;
        let created = self.create(&database).await;
        let id = created.as_ref().map(|created| created.id.to_string()).unwrap_or_default();
        audit::log("keys.create", Some(&self.app), &id, &created);
        audit::tell(&database, "keys.create", Some(&self.app), &id, &created).await;
        let place = location(&config, &database);
        database.close().await?;
        let CreatedKey { id, secret, expires_at } = created?;
        let scopes: Vec<_> = self.scope.names().collect();
        let text = if self.json {
            let (id, app, name) = (id.to_string(), &self.app, &self.name);
            let key = json!({"id": id, "secret": secret, "app": app, "scopes": scopes, "name": name,
                             "expires_at": expires_at.map(millis)});
            key.to_string()
        } else {
            let scopes = scopes.join(",");
            let until = expires_at.map(|at| format!(", until {}", seconds(at))).unwrap_or_default();
            eprintln!("{id} for {} ({scopes}){until} in {place}; the secret is shown only now", self.app);
            secret
        };
        match output::line_to_reader(&text) {
            Ok(true) => Ok(()),
            // A closed pipe is a failure here, because no other output has the secret.
            Ok(false) => Err(unread(id, "stdout is closed")),
            Err(error) => Err(unread(id, format_args!("{error:#}"))),
        }
    }

    async fn create(&self, database: &Database) -> Result<CreatedKey, CommandError> {
        let mut conn = database.connection().await?;
        let created = keys::create(&mut conn, &self.app, self.scope, self.name.as_deref(), self.expires);
        created.await.map_err(|error| match error {
            keys::Error::BadName | keys::Error::BadLifetime => CommandError::usage(error),
            other => CommandError::from(anyhow::Error::from(other).context(database.place())),
        })
    }
}

/// The error of a key with a secret that nothing has read.
fn unread(id: KeyId, why: impl fmt::Display) -> CommandError {
    let failure = CommandError::failed(format_args!("the secret of {id} is lost: {why}"));
    failure.hint(format!("end the key with pushpost keys revoke {id}, and create another one"))
}

impl List {
    async fn run(self) -> Result<(), CommandError> {
        let database = open(&self.config.load()?, SchemaAccess::Use).await?;
        let all = Self::all(&database).await;
        database.close().await?;
        let all = all?;
        let text = if self.json {
            Value::from_iter(all.iter().map(as_json)).to_string()
        } else {
            let rows: Vec<_> = all.iter().map(as_row).collect();
            let titles = ["ID", "APP", "SCOPES", "NAME", "CREATED", "EXPIRES", "REVOKED", "LAST USED"];
            output::table(titles, &rows)
        };
        Ok(output::line(&text)?)
    }

    async fn all(database: &Database) -> anyhow::Result<Vec<KeyRow>> {
        keys::list(&mut database.connection().await?).await.with_context(|| database.place())
    }
}

impl Revoke {
    async fn run(self) -> Result<(), CommandError> {
        let id = KeyId::parse(&self.id).map_err(|BadId| {
            CommandError::usage("that is not the id of a key")
                .hint("an id begins with key_; pushpost keys list shows all keys")
        })?;
        let database = open(&self.config.load()?, SchemaAccess::Use).await?;
        let found = Self::revoke(&database, id).await;
        if let Ok(found) = &found {
            let app = found.as_ref().map(|key| key.app.as_str());
            audit::tell(&database, "keys.revoke", app, &self.id, &found.as_ref().ok_or(())).await;
        }
        database.close().await?;
        let found = found?;
        audit::log("keys.revoke", None, &self.id, &found.as_ref().ok_or(()));
        let Some(known) = found else {
            let failure = CommandError::failed(format_args!("there is no key {id}"));
            return Err(failure.hint("pushpost keys list shows all keys"));
        };
        if self.json {
            output::line(&json!({"id": id.to_string(), "revoked": true}).to_string())?;
        } else if let Some(at) = known.revoked_at {
            eprintln!("{id} was revoked at {}", seconds(at));
        } else {
            eprintln!("revoked {id}");
        }
        Ok(())
    }

    /// Returns the key as it was before; none if there is no such key.
    async fn revoke(database: &Database, id: KeyId) -> anyhow::Result<Option<KeyRow>> {
        let mut conn = database.connection().await?;
        let all = keys::list(&mut conn).await.with_context(|| database.place())?;
        let was_there = keys::revoke(&mut conn, id).await.with_context(|| database.place())?;
        Ok(all.into_iter().find(|key| key.id == id).filter(|_| was_there))
    }
}

fn scopes(list: &str) -> Result<Scopes, BadScopes> {
    Scopes::parse(list)
}

fn as_json(key: &KeyRow) -> Value {
    json!({
        "id": key.id.to_string(),
        "app": key.app,
        "name": key.name,
        "scopes": key.scopes.names().collect::<Vec<_>>(),
        "created_at": millis(key.created_at),
        "expires_at": key.expires_at.map(millis),
        "revoked_at": key.revoked_at.map(millis),
        "last_used_at": key.last_used_at.map(millis),
    })
}

fn millis(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn seconds(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn as_row(key: &KeyRow) -> [String; 8] {
    [
        key.id.to_string(),
        key.app.clone(),
        key.scopes.names().collect::<Vec<_>>().join(","),
        key.name.clone().unwrap_or_default(),
        seconds(key.created_at),
        key.expires_at.map(seconds).unwrap_or_default(),
        key.revoked_at.map(seconds).unwrap_or_default(),
        key.last_used_at.map_or_else(|| "never".to_owned(), seconds),
    ]
}
