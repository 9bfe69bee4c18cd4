//! The user that Postgres runs as: the user of this process, or `postgres` if that is root, since Postgres refuses root.
//!
//! The change of user is left to `std::process::Command`, which sets the group, drops root's supplementary groups
//! (`setgroups` with none) and sets the user, in that order, and only then changes folder. `setpriv` and `runuser`
//! would do no more and are not everywhere. Because the folder is entered last, starting a program in a folder
//! is also the test whether that user may enter it, whatever modes and access lists there are on the path.
//!
//! Programs get a process group of their own, so that Ctrl-C on a terminal, which goes to the foreground group,
//! does not reach Postgres before the service has drained; the server besides gets a session of its own, by
//! `pg_ctl start`, so that a terminal that closes does not reach it either.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, fchown, lchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::error::Error;
use super::run;

/// The user that Debian's and other packages create.
const USER: &str = "postgres";
/// Other programs run as this user too, and could read and change the data.
const SHARED: &str = "nobody";
/// The environment variables that Postgres's programs get: none that may hold a secret of the service.
const INHERITED: [&str; 3] = ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"];

/// The user that runs Postgres and owns its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    uid: u32,
    gid: u32,
    /// This process is root and becomes this user; false: it is the user of this process.
    other: bool,
    /// More environment for its programs.
    variables: Vec<(&'static str, OsString)>,
}

impl Account {
    /// The user of this process. If that is root: the owner of data that is already there, else `postgres`.
    pub(super) async fn choose(data: Option<&Path>) -> Result<Self, Error> {
        let (uid, gid) = (own_id("-u").await?, own_id("-g").await?);
        if uid != 0 {
            return Ok(Self { uid, gid, other: false, variables: Vec::new() });
        }
        let passwd = Path::new("/etc/passwd");
        let users = fs::read_to_string(passwd).map_err(Error::io("read", passwd))?;
        let other = |(uid, gid)| Self { uid, gid, other: true, variables: Vec::new() };
        if let Some(data) = data
            && let Ok(owner) = fs::metadata(data)
            && owner.uid() != 0
        {
            let is_shared = ids_of(&users, SHARED).is_some_and(|(uid, _)| uid == owner.uid());
            return match is_shared {
                true => Err(Error::SharedAccount { path: data.to_owned() }),
                false => Ok(other((owner.uid(), owner.gid()))),
            };
        }
        ids_of(&users, USER).map(other).ok_or(Error::NoAccount)
    }

    /// The same user; its programs get these environment variables too.
    pub(super) fn with_variables(mut self, variables: [(&'static str, OsString); 3]) -> Self {
        self.variables = variables.into();
        self
    }

    /// True if this process is root and Postgres runs as another user.
    pub(super) fn is_other(&self) -> bool {
        self.other
    }

    pub(super) fn uid(&self) -> u32 {
        self.uid
    }

    pub(super) fn gid(&self) -> u32 {
        self.gid
    }

    /// A command that will run as this user in `folder`.
    pub(super) fn command(&self, program: &Path, folder: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(INHERITED.iter().filter_map(|name| Some((name, env::var_os(name)?))));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.env("LC_ALL", "C").current_dir(folder).process_group(0);
        if self.other {
            command.uid(self.uid).gid(self.gid);
        }
        command
    }

    /// Whether this user may enter the folder, found by trying.
    pub(super) async fn may_enter(&self, folder: &Path) -> bool {
        let mut command = self.command(Path::new("/bin/sh"), folder);
        command.args(["-c", ":"]);
        run::output("sh", command, run::SHORT).await.is_ok_and(|output| output.status.success())
    }

    /// Makes this user the owner of a file that we have just made.
    pub(super) fn own_file(&self, file: &File) -> io::Result<()> {
        if self.other { fchown(file, Some(self.uid), Some(self.gid)) } else { Ok(()) }
    }

    /// Makes this user the owner of a folder. Never follows a link; fails where the file system ignores owners.
    pub(super) fn own_folder(&self, folder: &Path) -> io::Result<()> {
        if !self.other {
            return Ok(());
        }
        lchown(folder, Some(self.uid), Some(self.gid))?;
        if fs::symlink_metadata(folder)?.uid() == self.uid {
            Ok(())
        } else {
            Err(io::Error::other("the file system does not keep owners"))
        }
    }
}

/// Our own effective user (`-u`) or group (`-g`); std has no safe call for it.
async fn own_id(which: &str) -> Result<u32, Error> {
    let mut command = Command::new("id");
    command.arg(which);
    let output = run::output("id", command, run::SHORT).await?;
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    words.trim().parse().map_err(|_| Error::Program { program: "id".into(), detail: words })
}

/// The ids of a user in the text of `/etc/passwd`. macOS writes some of them as negative numbers.
fn ids_of(users: &str, name: &str) -> Option<(u32, u32)> {
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|f| f[0] == name)?;
    let id = |index: usize| fields.get(index)?.parse::<i64>().ok().map(|id| id as u32);
    Some((id(2)?, id(3)?))
}

#[cfg(test)]
mod tests {
    use super::ids_of;

    #[test]
    fn reads_ids_of_a_user() {
        let users =
            "root:x:0:0::/root:/bin/sh\nnobody:*:-2:-2::/:/bin/false\npostgres:x:101:104::/:/bin/sh\n";
        assert_eq!(ids_of(users, "postgres"), Some((101, 104)));
        assert_eq!(ids_of(users, "nobody"), Some((u32::MAX - 1, u32::MAX - 1)));
        assert_eq!(ids_of(users, "post"), None);
    }
}
