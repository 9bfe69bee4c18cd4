//! What can go wrong with the private Postgres, each in one line that says what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Why the private Postgres cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No server programs of a usable version are installed where we look.
    #[error(
        "no PostgreSQL server programs (version {least} or newer) found in {looked_in}: install them \
         (Debian, Ubuntu: apt-get install postgresql; Fedora: dnf install postgresql-server; \
         macOS: brew install postgresql@17), or set database.postgres_bin_dir or database.url"
    )]
    NotInstalled {
        /// The oldest major version that would do.
        least: u32,
        /// The folders searched, as patterns.
        looked_in: String,
    },
    /// The data was made by a major version that is not installed; no other can open it.
    #[error(
        "the data was made by PostgreSQL {wanted}, but only {found} found: install it \
         (Debian, Ubuntu: apt-get install postgresql-{wanted}; macOS: brew install postgresql@{wanted}), \
         or set database.postgres_bin_dir"
    )]
    OtherMajor {
        /// The major version in `PG_VERSION`.
        wanted: u32,
        /// The versions that are installed.
        found: String,
    },
    /// We are root and there is no user to run Postgres as.
    #[error(
        "PostgreSQL does not run as root, and there is no user postgres to run it as: add one \
         (useradd --system postgres), run pushpost as an ordinary user, or set database.url"
    )]
    NoAccount,
    /// The data belongs to a user that other programs share.
    #[error(
        "{path} belongs to nobody, an account that other programs share: give it to postgres (chown -R postgres)"
    )]
    SharedAccount {
        /// The folder of the data.
        path: PathBuf,
    },
    /// initdb refuses a user without a name.
    #[error(
        "the user id {uid} has no name in /etc/passwd, which PostgreSQL's initdb needs: add an entry, \
         install libnss-wrapper (Debian, Ubuntu: apt-get install libnss-wrapper), or set database.url"
    )]
    NoName {
        /// The user's number.
        uid: u32,
    },
    /// The file system gives others access to the data and can't be told otherwise.
    #[error(
        "{path} stays open to other users after chmod, and PostgreSQL refuses that: use a volume that keeps modes"
    )]
    Open {
        /// The folder or file.
        path: PathBuf,
    },
    /// The user that runs Postgres may not enter the folder where its data already is.
    #[error("the user {account} may not enter {path}, where the database is: allow it, or move the data")]
    Closed {
        /// Name or id of the user.
        account: String,
        /// The folder that is closed to it.
        path: PathBuf,
    },
    /// The pointer in the data folder leads nowhere.
    #[error(
        "{pointer} says that the database is in {target}, which is gone: restore it, or remove {pointer} to begin anew"
    )]
    Dangling {
        /// The file that holds the path.
        pointer: PathBuf,
        /// The path in it.
        target: PathBuf,
    },
    /// There is a database but the file with its password is gone.
    #[error("{path} with the database's password is gone: restore it")]
    PasswordGone {
        /// Where the password was.
        path: PathBuf,
    },
    /// No folder for the Unix socket could be made.
    #[error("no folder for the Unix socket: none of {tried} is ours to use")]
    NoSocketFolder {
        /// The folders tried.
        tried: String,
    },
    /// Another process has been starting or stopping the server for too long.
    #[error("another process has been starting or stopping the database for {seconds} s (lock {path})")]
    Busy {
        /// The lock file.
        path: PathBuf,
        /// How long we waited.
        seconds: u64,
    },
    /// Another container uses the data folder.
    #[error(
        "the database in {path} is used by another container (host {host}, since {since}): run the command there"
    )]
    HeldElsewhere {
        /// The folder of the database.
        path: PathBuf,
        /// The other container's host name.
        host: String,
        /// When it began to use the folder.
        since: String,
    },
    /// Another container uses the data folder, and was waited for in vain.
    #[error(
        "the database in {path} is still used by another container after {seconds} s (host {host}, since {since}): \
         stop that container, or set another database.data_dir"
    )]
    StillHeld {
        /// The folder of the database.
        path: PathBuf,
        /// The other container's host name.
        host: String,
        /// When it began to use the folder.
        since: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// One of Postgres's programs failed.
    #[error("{program} failed: {detail}")]
    Program {
        /// Name of the program.
        program: String,
        /// The end of the program's output.
        detail: String,
    },
    /// The server did not take a connection in time.
    #[error("the database was not ready within {seconds} s ({detail}); see {log}")]
    NotReady {
        /// How long we waited.
        seconds: u64,
        /// The last failure.
        detail: String,
        /// The server's log.
        log: PathBuf,
    },
    /// The start was told to end.
    #[error("the start of the database was stopped")]
    Stopped,
    /// The server answers, but refuses us for good.
    #[error("the database refuses the connection: {0}")]
    Refused(#[source] sqlx::Error),
    /// The file system refused.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder that it was tried with.
        path: PathBuf,
        /// Why that failed.
        source: io::Error,
    },
}

impl Error {
    /// Was the server, or another user of the data folder, waited for in vain?
    pub fn has_timed_out(&self) -> bool {
        matches!(self, Self::NotReady { .. } | Self::Busy { .. } | Self::StillHeld { .. })
    }

    /// For `map_err`: names what was tried on which path.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
