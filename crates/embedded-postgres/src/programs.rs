//! Which installed Postgres to run. An older major cannot open a newer one's data nor the other way round, so the
//! data's major wins over "the newest".

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::error::Error;
use super::run;

/// Where distributions put server programs beside `PATH`; at most one `*` in each part of a path.
/// `scripts/ensure-postgres` looks in the same places.
pub(super) const FOLDERS: [&str; 8] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/libexec/postgresql*",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
];
/// The programs that are run; a folder that lacks one is no candidate (client packages bring `pg_ctl`-less folders).
const NEEDED: [&str; 3] = ["postgres", "initdb", "pg_ctl"];
/// `DETACH PARTITION … CONCURRENTLY` came with 14.
const LEAST_MAJOR: u32 = 14;
const VERSION_DEADLINE: Duration = Duration::from_secs(10);

/// A version as `postgres --version` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    pub(super) major: u32,
    pub(super) minor: u32,
}

/// An installed set of server programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Programs {
    pub(super) folder: PathBuf,
    pub(super) version: Version,
}

/// Finds the programs to run: in `configured` only, if given; the major `wanted` if there is data of it.
pub(super) async fn find(configured: Option<&Path>, wanted: Option<u32>) -> Result<Programs, Error> {
    let path = env::var_os("PATH").unwrap_or_default();
    let (folders, looked_in) = match configured {
        Some(folder) => (vec![folder.to_owned()], folder.display().to_string()),
        None => {
            let folders = env::split_paths(&path).chain(FOLDERS.iter().flat_map(|pattern| expand(pattern)));
            (folders.collect(), format!("PATH, {}", FOLDERS.join(", ")))
        }
    };
    let mut found = Vec::new();
    for folder in complete(folders) {
        match version_of(&folder).await {
            Ok(version) => found.push(Programs { folder, version }),
            Err(error) => tracing::warn!(folder = %folder.display(), %error, "unusable PostgreSQL programs"),
        }
    }
    choose(found, wanted, looked_in)
}

/// The best of what was found. Pure, so that the rule can be tested without installations.
pub(super) fn choose(
    found: Vec<Programs>,
    wanted: Option<u32>,
    looked_in: String,
) -> Result<Programs, Error> {
    let versions: Vec<String> = found.iter().map(|programs| programs.version.to_string()).collect();
    let usable = found.into_iter().filter(|programs| programs.version.major >= LEAST_MAJOR);
    let best = usable
        .filter(|programs| wanted.is_none_or(|major| programs.version.major == major))
        .reduce(|best, next| if next.version > best.version { next } else { best });
    match (best, wanted) {
        (Some(programs), _) => Ok(programs),
        (None, Some(wanted)) if !versions.is_empty() => {
            Err(Error::OtherMajor { wanted, found: versions.join(", ") })
        }
        (None, _) => Err(Error::NotInstalled { least: LEAST_MAJOR, looked_in }),
    }
}

/// The folders that hold all programs needed, each installation once.
pub(super) fn complete(folders: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut seen = Vec::new();
    let mut complete = Vec::new();
    for folder in folders {
        let Ok(real) = fs::canonicalize(&folder) else { continue };
        if NEEDED.iter().all(|program| real.join(program).is_file()) && !seen.contains(&real) {
            seen.push(real.clone());
            complete.push(real);
        }
    }
    complete
}

/// The folders that exist for a pattern.
pub(super) fn expand(pattern: &str) -> Vec<PathBuf> {
    let mut folders = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        folders = match part.split_once('*') {
            None => folders.into_iter().map(|folder| folder.join(part)).collect(),
            Some((before, after)) => {
                folders.iter().flat_map(|folder| matching(folder, before, after)).collect()
            }
        };
    }
    folders.retain(|folder| folder.is_dir());
    folders
}

fn matching(folder: &Path, before: &str, after: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let named = entries.filter(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.len() >= before.len() + after.len() && name.starts_with(before) && name.ends_with(after)
    });
    named.map(|entry| entry.path()).collect()
}

async fn version_of(folder: &Path) -> Result<Version, Error> {
    let mut command = Command::new(folder.join("postgres"));
    // Other programs do not get the service's environment, which may hold secrets.
    command.arg("--version").env_clear().env("LC_ALL", "C");
    let output = run::output("postgres --version", command, VERSION_DEADLINE).await?;
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    parse_version(&words).ok_or(Error::Program { program: "postgres --version".into(), detail: words })
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian …)`, `18beta1` and the like.
pub(super) fn parse_version(words: &str) -> Option<Version> {
    let (_, after) = words.split_once("(PostgreSQL) ")?;
    let number = after.split_whitespace().next()?;
    let (major, rest) = leading_number(number)?;
    let minor = rest.strip_prefix('.').and_then(leading_number).map_or(0, |(minor, _)| minor);
    Some(Version { major, minor })
}

fn leading_number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}
