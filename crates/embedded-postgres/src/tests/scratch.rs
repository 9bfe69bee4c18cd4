//! A data folder for one test; its server does not outlive the test.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Executor as _, Row as _};
use tempfile::TempDir;

use crate::{EmbeddedPostgres, Settings, socket};

/// A temporary folder; on drop, also in a failing test, its server is ended and what lies elsewhere removed.
pub(super) struct Scratch {
    folder: TempDir,
    data_dir: PathBuf,
}

impl Scratch {
    /// A folder that every user may enter.
    pub(super) fn open() -> Self {
        Self::with_mode(0o755)
    }

    /// A folder that only its owner may enter, as root's home.
    pub(super) fn closed() -> Self {
        Self::with_mode(0o700)
    }

    fn with_mode(mode: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
        let data_dir = folder.path().join("data");
        Self { folder, data_dir }
    }

    /// As [`Self::open`], with a path that is longer than a socket's may be.
    pub(super) fn long() -> Self {
        let mut scratch = Self::open();
        scratch.data_dir = scratch.folder.path().join("long/".repeat(30));
        scratch
    }

    pub(super) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn settings(&self) -> Settings {
        Settings { data_dir: self.data_dir.clone(), postgres_bin_dir: None, max_connections: 20 }
    }

    pub(super) async fn start(&self) -> EmbeddedPostgres {
        EmbeddedPostgres::start(&self.settings()).await.unwrap()
    }

    /// Where the database is.
    pub(super) fn home(&self) -> PathBuf {
        match fs::read_to_string(self.data_dir.join("postgres-is-at")) {
            Ok(target) => PathBuf::from(target.trim()),
            Err(_) => self.data_dir.join("postgres"),
        }
    }

    /// The process number of the postmaster, if it has one on file.
    pub(super) fn postmaster(&self) -> Option<u32> {
        self.pid_file_line(0)?.parse().ok()
    }

    /// The folder of the running server's socket.
    pub(super) fn socket(&self) -> Option<PathBuf> {
        self.pid_file_line(4).map(PathBuf::from)
    }

    fn pid_file_line(&self, line: usize) -> Option<String> {
        let text = fs::read_to_string(self.home().join("data/postmaster.pid")).ok()?;
        text.lines().nth(line).map(str::to_owned)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let home = self.home();
        // Backends too: they outlive a postmaster that the test has killed.
        let left =
            || self.postmaster().into_iter().filter(|pid| is_there(*pid)).chain(inside(&home.join("data")));
        for _ in 0..100 {
            let left: Vec<u32> = left().collect();
            if left.is_empty() {
                break;
            }
            left.into_iter().for_each(|pid| signal("KILL", pid));
            thread::sleep(Duration::from_millis(50));
        }
        if let Ok(home) = fs::canonicalize(&home) {
            for folder in socket::candidates(&home, true) {
                let _ = fs::remove_dir_all(folder);
            }
        }
        if !home.starts_with(self.folder.path()) {
            let _ = fs::remove_dir_all(home);
        }
    }
}

/// The processes that work in this folder.
fn inside(folder: &Path) -> Vec<u32> {
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok());
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    numbers.filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == folder)).collect()
}

/// Sends a signal by the shell's own `kill`.
pub(super) fn signal(name: &str, pid: u32) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status();
    assert!(sent.is_ok(), "no shell");
}

pub(super) fn is_there(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

/// Waits for a process's end: its file goes before it.
pub(super) async fn ends(pid: u32) -> bool {
    for _ in 0..2_000 {
        if !is_there(pid) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

pub(super) async fn connect(postgres: &EmbeddedPostgres) -> PgConnection {
    PgConnection::connect_with(&postgres.connect_options()).await.unwrap()
}

/// The first column of the first row, as text.
pub(super) async fn ask(postgres: &EmbeddedPostgres, sql: &'static str) -> String {
    let mut connection = connect(postgres).await;
    let row = connection.fetch_one(sql).await.unwrap();
    connection.close().await.unwrap();
    row.get(0)
}

/// Whether this test runs as root, and Postgres as another user.
pub(super) fn are_root(scratch: &Scratch) -> bool {
    fs::metadata(scratch.path()).unwrap().uid() == 0
}
