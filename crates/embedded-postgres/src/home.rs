//! Where the database lives and how its folder is laid out.
//!
//! Usually `<data_dir>/postgres`. If we are root and the user that runs Postgres may not enter `data_dir` (below
//! root's home, say), or its file system keeps no owners, it is `/var/lib/pushpost/<hash of data_dir>` instead, and a
//! pointer in `data_dir` says so. A `data_dir` that is made here, or is empty, is first made passable.
//!
//! The home belongs to the user of this process, also if that is root. The user that runs Postgres owns only what Postgres
//! writes, so it cannot redirect this process by links.
//!
//! | in the home | what | owner |
//! |---|---|---|
//! | `data` | what initdb made | the user |
//! | `data.new-*` | an initdb that runs or was killed | the user |
//! | `password` | of the superuser, mode 0600 | the user |
//! | `server.conf` | our parameters, written at each start | this process |
//! | `server.log`, `server.log.1` | Postgres's log | the user |
//! | `start.lock`, `users.lock`, `server.lock` | see `locks` | this process |
//! | `holder` | the container that uses the home, see `holder` | this process |

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::account::Account;
use super::error::Error;

const BESIDE: &str = "postgres";
const POINTER: &str = "postgres-is-at";
const ELSEWHERE: &str = "/var/lib/pushpost";

/// The folder of a database, and the user that runs it.
#[derive(Debug, Clone)]
pub(super) struct Home {
    folder: PathBuf,
    account: Account,
}

impl Home {
    /// Finds the home of a data folder, or decides on one and makes it. Harmless if several do it at once: they
    /// decide alike.
    pub(super) async fn settle(data_dir: &Path) -> Result<Self, Error> {
        make_passable(data_dir).map_err(Error::io("make", data_dir))?;
        let data_dir = fs::canonicalize(data_dir).map_err(Error::io("find", data_dir))?;
        if let Some(folder) = existing(&data_dir)? {
            let account = Account::choose(Some(&folder.join("data"))).await?;
            if !account.may_enter(&folder).await {
                return Err(Error::Closed { account: account.uid().to_string(), path: folder });
            }
            return Ok(Self { folder, account });
        }
        let account = Account::choose(None).await?;
        if !account.is_other() || fits(&account, &data_dir).await || open_if_empty(&account, &data_dir).await
        {
            let folder = data_dir.join(BESIDE);
            make_folder(&folder, &account)?;
            return Ok(Self { folder, account });
        }
        let folder = Path::new(ELSEWHERE).join(hash_of(&data_dir));
        make_folder(&folder, &account)?;
        let pointer = data_dir.join(POINTER);
        let line = [folder.as_os_str().as_bytes(), b"\n"].concat();
        write_whole(&pointer, &line, 0o644, None)?;
        tracing::warn!(
            data_dir = %data_dir.display(), database = %folder.display(),
            "the user that runs Postgres may not enter the data folder: the database is elsewhere"
        );
        Ok(Self { folder, account })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    /// Takes away the rights that a mount has added (Kubernetes' `fsGroup` adds a group's): Postgres refuses data that
    /// others may change.
    pub(super) fn restrict(&self) -> Result<(), Error> {
        if !self.account.is_other() {
            restrict(&self.folder, 0o700)?;
        }
        restrict(&self.data(), 0o700)?;
        restrict(&self.folder.join("password"), 0o600)
    }

    /// Postgres's own data folder.
    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }
}

/// The major version of the data that a data folder has, if any.
pub(super) fn major_of(data_dir: &Path) -> Result<Option<u32>, Error> {
    let Some(folder) = existing(data_dir)? else { return Ok(None) };
    let path = folder.join("data/PG_VERSION");
    Ok(read_if_there(&path)?.and_then(|version| version.trim().parse().ok()))
}

/// The text of a file, if it exists.
pub(super) fn read_if_there(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

/// Writes a file beside and renames it, so that it is there whole or not at all, also after a crash. It belongs to
/// `owner` if given.
pub(super) fn write_whole(
    path: &Path,
    content: &[u8],
    mode: u32,
    owner: Option<&Account>,
) -> Result<(), Error> {
    let beside = path.with_added_extension(format!("new-{}", random_hex()));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(content)?;
        // The mode given to open is cut by the umask.
        file.set_permissions(Permissions::from_mode(mode))?;
        owner.map_or(Ok(()), |owner| owner.own_file(&file))?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        sync_folder_of(path)
    };
    write().inspect_err(|_| drop(fs::remove_file(&beside))).map_err(Error::io("write", path))
}

/// Makes a rename in the folder of `path` outlast a crash of the machine.
pub(super) fn sync_folder_of(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// Sixteen random hexadecimal digits for names.
pub(super) fn random_hex() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// A short name for a folder.
pub(super) fn hash_of(folder: &Path) -> String {
    hex::encode(&Sha256::digest(folder.as_os_str().as_bytes())[..8])
}

/// The home that a data folder already has.
fn existing(data_dir: &Path) -> Result<Option<PathBuf>, Error> {
    let pointer = data_dir.join(POINTER);
    if let Some(line) = read_if_there(&pointer)? {
        let target = PathBuf::from(line.trim_end_matches('\n'));
        return if target.is_dir() { Ok(Some(target)) } else { Err(Error::Dangling { pointer, target }) };
    }
    let beside = data_dir.join(BESIDE);
    Ok(read_if_there(&beside.join("data/PG_VERSION"))?.map(|_| beside))
}

/// Removes a data folder and its home. One that is not there is removed already.
pub(super) fn remove(data_dir: &Path) -> Result<(), Error> {
    let home = existing(data_dir)?.filter(|home| home.parent() == Some(Path::new(ELSEWHERE)));
    for folder in home.iter().map(PathBuf::as_path).chain([data_dir]) {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::io("remove", folder)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether the user could work below this folder: enters it, and the file system lets it own a folder there.
async fn fits(account: &Account, data_dir: &Path) -> bool {
    let probe = data_dir.join(format!("postgres-probe-{}", random_hex()));
    let owned = fs::create_dir(&probe).and_then(|()| account.own_folder(&probe));
    let enters = owned.is_ok() && account.may_enter(&probe).await;
    let _ = fs::remove_dir(&probe);
    enters
}

/// Makes a folder and those above it that are missing. When we are root, all users may pass what is made, whatever the
/// umask is: the user that runs Postgres must.
pub(super) fn make_passable(folder: &Path) -> io::Result<()> {
    let missing = folder.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists());
    for folder in missing.collect::<Vec<_>>().into_iter().rev() {
        match DirBuilder::new().mode(0o755).create(folder) {
            Ok(()) if fs::metadata(folder)?.uid() != 0 => {}
            Ok(()) => fs::set_permissions(folder, Permissions::from_mode(0o755))?,
            // Another process makes it too.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Lets all users pass an empty data folder, such as a new volume. Returns whether the user could work below it then;
/// else the folder is as it was.
async fn open_if_empty(account: &Account, data_dir: &Path) -> bool {
    let Ok(mut entries) = fs::read_dir(data_dir) else { return false };
    // A new file system is not quite empty.
    if entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != "lost+found")) {
        return false;
    }
    let Ok(found) = fs::metadata(data_dir) else { return false };
    let mode = found.permissions().mode();
    let set = |mode| fs::set_permissions(data_dir, Permissions::from_mode(mode));
    if set(mode | 0o001).is_err() {
        return false;
    }
    let fits = fits(account, data_dir).await;
    if !fits {
        let _ = set(mode);
    }
    fits
}

fn restrict(path: &Path, mode: u32) -> Result<(), Error> {
    let is_open = || fs::metadata(path).map(|found| found.permissions().mode() & 0o077 != 0);
    if is_open().map_err(Error::io("find", path))? {
        let restricted = Permissions::from_mode(mode);
        fs::set_permissions(path, restricted).map_err(Error::io("set the mode of", path))?;
        if is_open().map_err(Error::io("find", path))? {
            return Err(Error::Open { path: path.to_owned() });
        }
    }
    Ok(())
}

/// Makes the home. It is closed to other users; if this process is root, the user that runs Postgres may pass through.
fn make_folder(folder: &Path, account: &Account) -> Result<(), Error> {
    let mode = if account.is_other() { 0o711 } else { 0o700 };
    make_passable(folder).map_err(Error::io("make", folder))?;
    fs::set_permissions(folder, Permissions::from_mode(mode)).map_err(Error::io("set the mode of", folder))
}
