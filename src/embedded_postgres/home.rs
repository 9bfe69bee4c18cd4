//! Where the database lives and how its folder is laid out.
//!
//! Usually `<data_dir>/postgres`. If we are root and the user who runs Postgres may not enter `data_dir` (root's
//! home, say), or its file system keeps no owners, it is `/var/lib/pushpost/<hash of data_dir>` instead, and a
//! pointer in `data_dir` says so. The home itself stays ours, also as root: that user owns only what Postgres
//! writes, so it cannot lead us astray by links.
//!
//! | in the home | what | owner |
//! |---|---|---|
//! | `data` | what initdb made | the user |
//! | `data.new-*` | an initdb that runs or was killed | the user |
//! | `password` | of the superuser, mode 0600 | the user |
//! | `server.conf` | our parameters, written at each start | we |
//! | `server.log`, `server.log.1` | Postgres's log | the user |
//! | `start.lock`, `users.lock`, `server.lock` | see `locks` | we |
//! | `holder` | the container that uses the home, see `holder` | we |

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::account::Account;
use super::error::Error;

const BESIDE: &str = "postgres";
const POINTER: &str = "postgres-is-at";
const ELSEWHERE: &str = "/var/lib/pushpost";

/// The folder of a database and who runs it.
#[derive(Debug, Clone)]
pub(super) struct Home {
    folder: PathBuf,
    account: Account,
}

impl Home {
    /// Finds the home of a data folder, or decides on one and makes it. Harmless if several do it at once: they
    /// decide alike.
    pub(super) async fn settle(data_dir: &Path) -> Result<Self, Error> {
        fs::create_dir_all(data_dir).map_err(Error::io("make", data_dir))?;
        let data_dir = fs::canonicalize(data_dir).map_err(Error::io("find", data_dir))?;
        if let Some(folder) = existing(&data_dir)? {
            let account = Account::choose(Some(&folder.join("data"))).await?;
            if !account.may_enter(&folder).await {
                return Err(Error::Closed { account: account.uid().to_string(), path: folder });
            }
            return Ok(Self { folder, account });
        }
        let account = Account::choose(None).await?;
        if !account.is_other() || fits(&account, &data_dir).await {
            let folder = data_dir.join(BESIDE);
            make_folder(&folder, &account)?;
            return Ok(Self { folder, account });
        }
        let folder = Path::new(ELSEWHERE).join(hash_of(&data_dir));
        make_folder(&folder, &account)?;
        let pointer = data_dir.join(POINTER);
        let line = [folder.as_os_str().as_bytes(), b"\n"].concat();
        write_whole(&pointer, &line, 0o644, None)?;
        tracing::info!(
            data_dir = %data_dir.display(), database = %folder.display(),
            "the user who runs Postgres may not enter the data folder: the database is elsewhere"
        );
        Ok(Self { folder, account })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn account(&self) -> &Account {
        &self.account
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
    let digest = Sha256::digest(folder.as_os_str().as_bytes());
    digest[..8].iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
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

/// The home: closed to others, but as root the user who runs Postgres must pass through.
fn make_folder(folder: &Path, account: &Account) -> Result<(), Error> {
    let mode = if account.is_other() { 0o711 } else { 0o700 };
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o755);
    folder.parent().map_or(Ok(()), |parent| builder.create(parent)).map_err(Error::io("make", folder))?;
    builder.create(folder).map_err(Error::io("make", folder))?;
    fs::set_permissions(folder, Permissions::from_mode(mode)).map_err(Error::io("set the mode of", folder))
}
