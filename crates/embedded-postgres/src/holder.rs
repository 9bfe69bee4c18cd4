//! Which container uses a data folder, so that a second one never starts a second server on it.
//!
//! Inside one container a server is found among the processes (`processes`). Another container's processes can't be
//! seen, so locks decide (`locks`): `flock` holds between all containers of one kernel, and between hosts on a file
//! system that passes locks on, as NFS does. The first process that uses a folder writes down its container; a process
//! that finds the folder in use compares. Both happen under the start lock.
//!
//! A container is told by the kernel's boot and the namespace of its process numbers: processes that share both see
//! each other. Where there is no `/proc` (macOS) there are no containers either.

use std::fs;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use tokio::time::{Instant, sleep};

use super::error::Error;
use super::home;
use super::locks::{ServerLock, StartLock, UserLock};

const FILE: &str = "holder";
const STEP: Duration = Duration::from_millis(50);
/// Two lines about one holder that is waited for are at least so far apart.
const TELL: Duration = Duration::from_secs(5);
/// After this time a start lock that is taken names its holder: the holder writes itself down first.
const SETTLE: Duration = Duration::from_secs(2);
/// Longer than a start and a stop of another process in this container may take together.
const BUSY: Duration = Duration::from_secs(180);

/// A process that uses the data folder now.
#[derive(Debug)]
pub(super) struct Entry {
    /// Held while the server is started.
    pub(super) starting: StartLock,
    /// Held for as long as the process uses the server.
    pub(super) users: UserLock,
    /// No other process used the folder.
    pub(super) is_alone: bool,
}

/// The container that uses a data folder, as its first user wrote it down.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    host: String,
    /// When the file was written: the clock of the file system, which all containers share.
    since: String,
}

/// Why the folder cannot be used now.
enum Obstacle {
    /// Another container uses the folder.
    Elsewhere(Holder),
    /// A process of this container starts or stops the server.
    Busy,
}

impl Holder {
    /// The holder, if it is another container. A file that says nothing names no container.
    fn elsewhere(home: &Path) -> Result<Option<Self>, Error> {
        let path = home.join(FILE);
        let Some(text) = home::read_if_there(&path)? else { return Ok(None) };
        let Some((container, host)) = text.trim_end().split_once('\n') else { return Ok(None) };
        if container == this_container() {
            return Ok(None);
        }
        let written = fs::metadata(&path).and_then(|found| found.modified());
        let since = written.map(|at| DateTime::<Utc>::from(at).to_rfc3339_opts(SecondsFormat::Secs, true));
        let since = since.unwrap_or_else(|_| "an unknown time".to_owned());
        Ok(Some(Self { host: host.to_owned(), since }))
    }

    fn write_this_container(home: &Path) -> Result<(), Error> {
        let text = format!("{}\n{}\n", this_container(), host_name());
        home::write_whole(&home.join(FILE), text.as_bytes(), 0o644, None)
    }
}

fn this_container() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    format!("{} {}", boot.trim(), namespace.display())
}

/// Becomes a user of the data folder. Waits at most `patience` for another container to let go of it.
pub(super) async fn enter(home: &Path, patience: Duration) -> Result<Entry, Error> {
    let begun = Instant::now();
    let mut told: Option<Instant> = None;
    loop {
        let (obstacle, patience) = match StartLock::try_take(home)? {
            Some(starting) => match become_user(home, starting)? {
                Ok(entry) => return Ok(entry),
                Err(holder) => (Obstacle::Elsewhere(holder), patience),
            },
            None => match Holder::elsewhere(home)? {
                Some(holder) => (Obstacle::Elsewhere(holder), patience.max(SETTLE)),
                None => (Obstacle::Busy, BUSY),
            },
        };
        if begun.elapsed() >= patience {
            return Err(obstacle.error(home, patience));
        }
        if let Obstacle::Elsewhere(holder) = &obstacle
            && told.is_none_or(|at| at.elapsed() >= TELL)
        {
            told = Some(Instant::now());
            tracing::info!(
                folder = %home.display(), host = holder.host, since = holder.since,
                left_secs = patience.saturating_sub(begun.elapsed()).as_secs(),
                "another container uses the data folder: waiting for its end"
            );
        }
        sleep(STEP).await;
    }
}

/// The inner error is the other container that uses the folder.
fn become_user(home: &Path, starting: StartLock) -> Result<Result<Entry, Holder>, Error> {
    let elsewhere = Holder::elsewhere(home)?;
    let users = UserLock::open(home)?;
    let is_alone = users.is_alone(&starting)?;
    if let Some(holder) = elsewhere {
        // A server may outlive the process that started it.
        if !is_alone || ServerLock::is_held(home, &starting)? {
            return Ok(Err(holder));
        }
    }
    if is_alone {
        Holder::write_this_container(home)?;
    }
    let users = users.share(&starting)?;
    Ok(Ok(Entry { starting, users, is_alone }))
}

impl Obstacle {
    fn error(self, home: &Path, waited: Duration) -> Error {
        let path = home.to_owned();
        match self {
            Self::Busy => Error::Busy { path, seconds: waited.as_secs() },
            Self::Elsewhere(Holder { host, since, .. }) if waited > SETTLE => {
                Error::StillHeld { path, host, since, seconds: waited.as_secs() }
            }
            Self::Elsewhere(Holder { host, since, .. }) => Error::HeldElsewhere { path, host, since },
        }
    }
}

fn host_name() -> String {
    let name = rustix::system::uname();
    let name: String = name.nodename().to_string_lossy().chars().filter(char::is_ascii_graphic).collect();
    if name.is_empty() { "unknown".to_owned() } else { name }
}
