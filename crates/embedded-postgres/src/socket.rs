//! The folder of the Unix socket. Not in the data folder: the path of a socket may have 107 bytes (103 on macOS),
//! and not every file system that holds data can hold a socket.
//!
//! Nor under `$XDG_RUNTIME_DIR`: that goes when its user logs out, and processes with other environments would
//! not agree on it. As root it is below `/run`, where only root makes folders; else below `/tmp`, where any
//! user could have made the folder before, so its owner and mode are checked.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::account::Account;
use super::error::Error;
use super::locks::ServerLock;
use super::{PORT, home};

/// The socket's folder for a home: the first candidate that belongs to the right user or can be made so. The same at
/// each call.
///
/// It comes without what a dead server left in it. Postgres reads the process number in the left lock file and
/// refuses to start while a process has this number, though the process may be a zombie or another program. That no
/// server uses the folder is known from the server's lock.
pub(super) fn prepare(home: &Path, account: &Account, _lock: &ServerLock) -> Result<PathBuf, Error> {
    let candidates = candidates(home, account.is_other());
    for candidate in &candidates {
        let folder = Path::new(candidate);
        match make(folder, account) {
            Ok(()) => {
                for left in [socket_of(folder), socket_of(folder).with_added_extension("lock")] {
                    let _ = fs::remove_file(left);
                }
                return Ok(folder.to_owned());
            }
            Err(error) => tracing::debug!(%error, folder = candidate, "no folder for the socket"),
        }
    }
    Err(Error::NoSocketFolder { tried: candidates.join(", ") })
}

/// Where the socket may be, best first.
pub(super) fn candidates(home: &Path, are_root: bool) -> Vec<String> {
    let hash = home::hash_of(home);
    let run = are_root.then(|| format!("/run/pushpost/{hash}"));
    run.into_iter().chain([format!("/tmp/pushpost-{hash}"), format!("/tmp/pushpost-{hash}-2")]).collect()
}

/// Removes the folder of a stopped server.
pub(super) fn remove(folder: &Path) {
    let _ = fs::remove_dir(folder);
}

/// Whether the socket in this folder is gone, or the folder with it.
pub(super) fn is_gone(folder: &Path) -> bool {
    !socket_of(folder).exists()
}

fn socket_of(folder: &Path) -> PathBuf {
    folder.join(format!(".s.PGSQL.{PORT}"))
}

fn make(folder: &Path, account: &Account) -> io::Result<()> {
    if folder.starts_with("/run")
        && let Some(parent) = folder.parent()
    {
        home::make_passable(parent)?;
    }
    let made = match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        Err(error) => return Err(error),
    };
    let found = fs::symlink_metadata(folder)?;
    // Root's, if a predecessor was killed between making it and giving it away.
    if account.is_other() && (made || found.is_dir() && found.uid() == 0) {
        account.own_folder(folder)?;
    }
    let found = fs::symlink_metadata(folder)?;
    if found.is_dir() && found.uid() == account.uid() && found.mode() & 0o077 == 0 {
        Ok(())
    } else {
        Err(io::Error::new(ErrorKind::PermissionDenied, "it is somebody else's, or open to others"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_folder_that_others_may_use_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let account = Account::choose(None).await.unwrap();
        let folder = scratch.path().join("socket");
        make(&folder, &account).unwrap();
        make(&folder, &account).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
        assert_eq!(make(&folder, &account).unwrap_err().kind(), ErrorKind::PermissionDenied);
    }
}
