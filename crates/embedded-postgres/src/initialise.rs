//! Makes the database's data folder, all or nothing: initdb works beside, under a name of its own, and the result
//! is renamed. An initdb that was killed half-way, or one that outlived a killed pushpost and still writes, can
//! therefore never be taken for a database.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::NAME;
use super::error::Error;
use super::home::{self, Home};
use super::names;
use super::run::Runner;

/// initdb takes a second or two; slow disks and emulated machines need more.
const INITDB_DEADLINE: Duration = Duration::from_secs(120);
const NEW: &str = "data.new-";
/// macOS has no locale `C.UTF-8` in all its versions; with `C` text is compared alike, only classes of letters
/// differ, which no query asks for.
const LOCALE: &str = if cfg!(target_os = "macos") { "--locale=C" } else { "--locale=C.UTF-8" };

/// Makes the database if there is none, and returns its password. To be called under the start lock.
pub(super) async fn ensure(home: &Home, runner: &Runner) -> Result<String, Error> {
    remove_leftovers(home);
    let path = home.folder().join("password");
    let stored = home::read_if_there(&path)?.map(|text| text.trim().to_owned());
    let made = home::read_if_there(&home.data().join("PG_VERSION"))?.is_some();
    match (made, stored) {
        (true, Some(password)) => Ok(password),
        (true, None) => Err(Error::PasswordGone { path }),
        (false, _) => {
            let password = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 24]>());
            home::write_whole(&path, password.as_bytes(), 0o600, Some(home.account()))?;
            initdb(home, runner).await?;
            Ok(password)
        }
    }
}

async fn initdb(home: &Home, runner: &Runner) -> Result<(), Error> {
    tracing::info!(
        folder = %home.folder().display(), version = %runner.programs().version, "initialising an embedded Postgres"
    );
    let name = format!("{NEW}{}", home::random_hex());
    let new = home.folder().join(&name);
    fs::DirBuilder::new().mode(0o700).create(&new).map_err(Error::io("make", &new))?;
    home.account().own_folder(&new).map_err(Error::io("give away", &new))?;
    let user = format!("--username={NAME}");
    let arguments = [
        "--pgdata",
        &name,
        &user,
        "--pwfile=password",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        LOCALE,
        "--data-checksums",
        "--no-instructions",
    ];
    let runner = runner.clone().with_account(names::ensure(home).await?);
    runner.run("initdb", arguments, home.folder(), INITDB_DEADLINE).await?;
    let data = home.data();
    fs::rename(&new, &data).map_err(Error::io("rename to", &data))?;
    home::sync_folder_of(&data).map_err(Error::io("sync the folder of", &data))
}

/// A leftover that cannot be removed yet, because its initdb still writes, is left to the next start.
fn remove_leftovers(home: &Home) {
    for entry in fs::read_dir(home.folder()).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(NEW) {
            remove(&entry.path());
        }
    }
}

fn remove(leftover: &Path) {
    tracing::info!(leftover = %leftover.display(), "removing what an interrupted initdb left");
    if let Err(error) = fs::remove_dir_all(leftover) {
        tracing::warn!(%error, leftover = %leftover.display(), "cannot remove it");
    }
}
