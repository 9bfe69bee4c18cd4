//! Lock files in the home, locked with `flock`: the kernel releases them however a process ends.
//!
//! - `users.lock` is held shared by each process for as long as it uses the server. A process that can have it alone
//!   is the only user: on coming that means that no predecessor lives, on leaving that the server may be stopped.
//! - `start.lock` is held alone while initialising, starting, recovering and stopping, and while `users.lock` is
//!   taken or tried. So no process sees the change from shared to alone and back, which is not atomic.
//! - `server.lock` is held alone by the server: by the postmaster and each of its children, which inherit it. So it
//!   tells whether a server works on the data, also one in another container that can't be seen.
//!
//! The files are never removed: a lock on a removed file would exclude nothing.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::time::Instant;

use super::error::Error;

const START: &str = "start.lock";
/// Longer than a start and a stop together may take.
const PATIENCE: Duration = Duration::from_secs(180);
const STEP: Duration = Duration::from_millis(50);

/// The right to start or stop the server; released when dropped.
#[derive(Debug)]
pub(super) struct StartLock {
    file: File,
}

/// A use of the server; ends when dropped.
#[derive(Debug)]
pub(super) struct UserLock {
    file: File,
    path: PathBuf,
}

/// The right to work on the data, to be handed to a postmaster.
///
/// Never unlocked, only closed: the postmaster's copy is the same lock.
#[derive(Debug)]
pub(super) struct ServerLock {
    file: File,
}

impl StartLock {
    /// Waits for its turn. Polls, since a blocking lock could be neither cancelled nor given a deadline.
    pub(super) async fn take(home: &Path) -> Result<Self, Error> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            if let Some(lock) = Self::try_take(home)? {
                return Ok(lock);
            }
            if Instant::now() > give_up {
                return Err(Error::Busy { path: home.join(START), seconds: PATIENCE.as_secs() });
            }
            tokio::time::sleep(STEP).await;
        }
    }

    /// None: another process starts or stops the server.
    pub(super) fn try_take(home: &Path) -> Result<Option<Self>, Error> {
        let path = home.join(START);
        let file = open(&path)?;
        Ok(try_alone(&file, &path)?.then_some(Self { file }))
    }
}

impl UserLock {
    /// Not yet a user.
    pub(super) fn open(home: &Path) -> Result<Self, Error> {
        let path = home.join("users.lock");
        Ok(Self { file: open(&path)?, path })
    }

    /// Whether no other process uses the server. It ends this use either way: the caller shares the lock again, lets
    /// go or stops the server.
    pub(super) fn is_alone(&self, _starting: &StartLock) -> Result<bool, Error> {
        try_alone(&self.file, &self.path)
    }

    /// Becomes a user. Cannot wait: the lock is held alone only under the start lock, which the caller has.
    pub(super) fn share(self, _starting: &StartLock) -> Result<Self, Error> {
        self.file.lock_shared().map_err(Error::io("lock", &self.path))?;
        Ok(self)
    }
}

impl ServerLock {
    /// None: a server works on the data, or one of its processes has outlived it.
    pub(super) fn take(home: &Path, _starting: &StartLock) -> Result<Option<Self>, Error> {
        let path = home.join("server.lock");
        let file = open(&path)?;
        Ok(try_alone(&file, &path)?.then_some(Self { file }))
    }

    /// Whether a server works on the data, as far as the lock tells.
    pub(super) fn is_held(home: &Path, starting: &StartLock) -> Result<bool, Error> {
        let taken = Self::take(home, starting)?;
        let Some(ServerLock { file }) = taken else { return Ok(true) };
        let _ = file.unlock();
        Ok(false)
    }

    /// Hands the lock to a program, which has it for as long as it or a process that it starts keeps this file open.
    pub(super) fn into_stdin(self) -> Stdio {
        self.file.into()
    }
}

// Closing the file would not do: a child that is being forked holds a copy of it until its exec, and the lock with it.
impl Drop for StartLock {
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

impl Drop for UserLock {
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

fn try_alone(file: &File, path: &Path) -> Result<bool, Error> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(Error::io("lock", path)(error)),
    }
}

fn open(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    options.open(path).map_err(Error::io("open", path))
}
