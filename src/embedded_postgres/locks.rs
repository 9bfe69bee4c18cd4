//! Who may start and stop the server: two lock files in the home, locked with `flock`, which the kernel lets go
//! when a process ends in whatever way.
//!
//! - `users.lock` is held shared by each process for as long as it uses the server. Who can have it alone is the
//!   only user: on coming that means that no predecessor lives, on leaving that the server may be stopped.
//! - `start.lock` is held alone while initialising, starting, recovering and stopping, and while `users.lock` is
//!   taken or tried; so the change from shared to alone and back, which is not atomic, is seen by nobody.
//!
//! The files are never removed: a lock on a removed file would exclude nobody.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::error::Error;

/// Longer than a start and a stop together may take.
const PATIENCE: Duration = Duration::from_secs(180);
const STEP: Duration = Duration::from_millis(50);

/// The right to start or stop the server; let go when dropped.
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

impl StartLock {
    /// Waits for its turn. Polls, since a blocking lock could be neither cancelled nor given a deadline.
    pub(super) async fn take(home: &Path) -> Result<Self, Error> {
        let path = home.join("start.lock");
        let file = open(&path)?;
        let give_up = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { file }),
                Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
                Err(TryLockError::WouldBlock) if Instant::now() > give_up => {
                    return Err(Error::Busy { path, seconds: PATIENCE.as_secs() });
                }
                Err(TryLockError::WouldBlock) => tokio::time::sleep(STEP).await,
            }
        }
    }
}

impl UserLock {
    /// Becomes a user; also says whether there was no other.
    pub(super) fn come(home: &Path, _starting: &StartLock) -> Result<(Self, bool), Error> {
        let path = home.join("users.lock");
        let file = open(&path)?;
        let alone = try_alone(&file, &path)?;
        // Cannot wait: the lock is held alone only under the start lock, which we have.
        file.lock_shared().map_err(Error::io("lock", &path))?;
        Ok((Self { file, path }, alone))
    }

    /// Whether nobody else uses the server. It ends this use either way: the caller lets go or stops the server.
    pub(super) fn is_last(&self, _starting: &StartLock) -> Result<bool, Error> {
        try_alone(&self.file, &self.path)
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
