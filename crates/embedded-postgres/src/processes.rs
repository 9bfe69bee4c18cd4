//! Which server processes work on a data folder, and the end of those that outlived their postmaster.
//!
//! Postgres refuses to start while `postmaster.pid` names a process that exists (a zombie not yet reaped, or after
//! a reboot some other program under the same number), or while a backend of the dead postmaster still holds
//! its shared memory. Both are told apart here by looking at which processes have the folder as their working
//! folder: every process of a server enters it, a dead one has none. Processes of another container are not seen:
//! for these there is the server's lock (`locks`).
//!
//! The search is done by a shell running as Postgres's user: a root without `CAP_SYS_PTRACE`, as containers have
//! it, may not read the working folder of another user's process. Where there is no `/proc` (macOS), `pg_ctl status`
//! is asked; there orphans end by themselves with their statement, and the start is tried again until then.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::error::Error;
use super::home::{self, Home};
use super::locks::ServerLock;
use super::run::{self, Runner};

const END_DEADLINE: Duration = Duration::from_secs(20);
const STEP: Duration = Duration::from_millis(20);
/// Prints the number of each process that works in the folder `$1`.
const SCAN: &str =
    r#"for p in /proc/[0-9]*; do [ "$p/cwd" -ef "$1" ] && echo "${p#/proc/}"; done 2>/dev/null"#;

/// What works on a data folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// A postmaster; it may be starting, ready or stopping.
    Postmaster(PidFile),
    /// No postmaster, but maybe its children, by number.
    Orphans(Vec<u32>),
}

/// What `postmaster.pid` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PidFile {
    /// Process number of the postmaster (or of a single-user backend, which Postgres writes as negative).
    pub(super) pid: u32,
    /// The folder of its socket; absent while it starts.
    pub(super) socket: Option<PathBuf>,
}

/// Looks at the processes of a home's server.
pub(super) async fn look(home: &Home, runner: &Runner) -> Result<Presence, Error> {
    if !has_proc() {
        let status = runner.run("pg_ctl", ["status", "-D", "data"], home.folder(), run::SHORT).await;
        let pid_file = read_pid_file(home)?.filter(|_| status.is_ok());
        return Ok(pid_file.map_or(Presence::Orphans(Vec::new()), Presence::Postmaster));
    }
    let printed = runner.script(SCAN, Path::new("data"), home.folder()).await?;
    let numbers = printed.lines().filter_map(|line| line.parse().ok());
    let servers: Vec<u32> = numbers.filter(|pid| is_postgres(*pid)).collect();
    // Read after the scan: a postmaster enters the folder before it writes the file.
    match read_pid_file(home)? {
        Some(pid_file) if servers.contains(&pid_file.pid) => Ok(Presence::Postmaster(pid_file)),
        _ => Ok(Presence::Orphans(servers)),
    }
}

/// Ends the orphans. To be called under the start lock, right after [`look`] has found no postmaster.
///
/// They are killed: without their postmaster their shared memory is lost, and a busy one would not react to a milder
/// signal. What they committed is in the write-ahead log.
pub(super) async fn end_orphans(orphans: Vec<u32>, home: &Home, runner: &Runner) -> Result<(), Error> {
    if !has_proc() {
        return Ok(());
    }
    let give_up = Instant::now() + END_DEADLINE;
    let mut left = orphans;
    while !left.is_empty() && Instant::now() < give_up {
        tracing::warn!(processes = ?left, "ending server processes that outlived their postmaster");
        for pid in &left {
            let pid = pid.to_string();
            // Fails if it has just ended.
            let _ = runner.run("pg_ctl", ["kill", "KILL", &pid], home.folder(), run::SHORT).await;
        }
        tokio::time::sleep(STEP).await;
        left = match look(home, runner).await? {
            Presence::Orphans(left) => left,
            Presence::Postmaster(_) => return Ok(()),
        };
    }
    Ok(())
}

/// Takes the dead postmaster's file away: its number may name a process of today. Only with the server's lock, which
/// says that no server lives, here or in another container.
pub(super) fn remove_pid_file(home: &Home, _lock: &ServerLock) -> Result<(), Error> {
    let path = home.data().join("postmaster.pid");
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", &path)(error)),
        Ok(()) => {
            tracing::warn!("the embedded Postgres had not been stopped: it will recover");
            Ok(())
        }
        Err(_) => Ok(()),
    }
}

/// A cheap look whether the postmaster lives, for every second: may say yes wrongly if its number was given to
/// another Postgres, never no wrongly.
pub(super) async fn seems_alive(home: &Home, runner: &Runner) -> bool {
    if !has_proc() {
        return !matches!(look(home, runner).await, Ok(Presence::Orphans(_)));
    }
    match read_pid_file(home) {
        Ok(Some(pid_file)) => is_postgres(pid_file.pid),
        Ok(None) => false,
        Err(_) => true,
    }
}

fn has_proc() -> bool {
    Path::new("/proc/self/stat").exists()
}

/// Whether this is a living Postgres process; a zombie is not. From `/proc/<pid>/stat`: `1 (name) S …`.
fn is_postgres(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    let Some((before, after)) = stat.rsplit_once(") ") else { return false };
    before.split_once('(').is_some_and(|(_, name)| name.contains("postgres"))
        && !after.starts_with(['Z', 'X'])
}

fn read_pid_file(home: &Home) -> Result<Option<PidFile>, Error> {
    let text = home::read_if_there(&home.data().join("postmaster.pid"))?;
    Ok(text.as_deref().and_then(parse_pid_file))
}

/// Lines: number, data folder, start time, port, socket folder, address, shared memory key, status.
fn parse_pid_file(text: &str) -> Option<PidFile> {
    let mut lines = text.lines();
    let pid = lines.next()?.trim().parse::<i64>().ok()?;
    let socket = lines.nth(3).map(str::trim).filter(|line| !line.is_empty()).map(PathBuf::from);
    Some(PidFile { pid: u32::try_from(pid.unsigned_abs()).ok()?, socket })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_pid_file_at_every_stage() {
        let whole = "4711\n/d\n1700000000\n5432\n/run/x\n\n  123  45\nready   \n";
        assert_eq!(parse_pid_file(whole), Some(PidFile { pid: 4711, socket: Some("/run/x".into()) }));
        assert_eq!(parse_pid_file("-12\n/d\n170\n0\n\n"), Some(PidFile { pid: 12, socket: None }));
        assert_eq!(parse_pid_file(""), None);
    }

    #[test]
    fn we_are_not_a_server() {
        assert!(!is_postgres(std::process::id()));
    }
}
