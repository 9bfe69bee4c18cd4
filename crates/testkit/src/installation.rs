//! What every service of a test stands on: a database with the app `shop`, the simulator, and a folder with the
//! configuration.

use std::fs;
use std::path::{Path, PathBuf};

use pushpost_simulator::{Settings, Simulator};
use tempfile::TempDir;

use crate::apps;
use crate::database::TestDatabase;

/// The file of the configuration, in the folder of an installation.
pub const CONFIG: &str = "pushpost.toml";

/// A database, providers and a configuration that fits both. The folder is removed when this is dropped.
pub struct Installation {
    pub database: TestDatabase,
    pub simulator: Simulator,
    pub http: reqwest::Client,
    folder: TempDir,
}

impl Installation {
    /// With a new database.
    pub async fn create(providers: Settings) -> Self {
        Self::on(TestDatabase::create().await, providers).await
    }

    /// With this database. The app `shop` and its lanes get rows, so that a lane can be paused before anything is sent.
    pub async fn on(database: TestDatabase, providers: Settings) -> Self {
        let simulator = Simulator::start(providers).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        simulator.write_files(folder.path()).unwrap();
        apps::shop(&database.pool).await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { database, simulator, http, folder }
    }

    /// Creates a key of the app `shop`; answers its secret.
    pub async fn key(&self, scopes: &str) -> String {
        self.database.create_key("shop", scopes).await
    }

    /// Creates a key of an app; answers its secret.
    pub async fn key_of(&self, app: &str, scopes: &str) -> String {
        self.database.create_key(app, scopes).await
    }

    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join(CONFIG)
    }

    /// The path of a file beside the configuration.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Writes a file beside the configuration, or replaces one at once.
    pub fn write(&self, name: &str, text: &str) {
        replace_file(&self.folder.path().join(name), text);
    }

    /// Replaces what stands exactly once in the configuration.
    pub fn edit(&self, from: &str, to: &str) {
        let text = self.read(CONFIG);
        assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
        self.write(CONFIG, &text.replace(from, to));
    }
}

/// Writes a file so that a reader sees all of the old text or all of the new one.
pub(crate) fn replace_file(path: &Path, text: &str) {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}
