//! Reaps orphaned processes where this program is process 1 of a container.
//!
//! The kernel gives process 1 every process that lost its parent, such as a Postgres server, and process 1 must wait
//! for it when it ends. Otherwise the process stays as a zombie, and its id looks taken, for example to Postgres's lock
//! file.
//!
//! Children that this program has started are left alone, because other code waits for their exit codes. Only such a
//! child is in this program's session and either leads a process group or is in this program's group.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, waitpid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

/// SIGCHLD may be lost while another one is handled, so zombies are looked for this often as well.
const INTERVAL: Duration = Duration::from_secs(1);

/// The first fields of `/proc/<pid>/stat`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Process {
    pid: i32,
    is_zombie: bool,
    parent: i32,
    group: i32,
    session: i32,
}

/// Whether this program is process 1.
pub(super) fn is_needed() -> bool {
    std::process::id() == 1
}

/// Reaps orphans that have ended. Returns only if SIGCHLD can't be caught.
pub(super) async fn reap() {
    let Ok(mut ended) = signal(SignalKind::child()) else { return };
    loop {
        for orphan in ended_orphans() {
            let _ = waitpid(Pid::from_raw(orphan), WaitOptions::NOHANG);
        }
        let _ = timeout(INTERVAL, ended.recv()).await;
    }
}

fn ended_orphans() -> Vec<i32> {
    let Some(own) = read("self") else { return Vec::new() };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let numbers = names.filter(|name| name.starts_with(|first: char| first.is_ascii_digit()));
    let found = numbers.filter_map(|number| read(&number));
    found.filter(|process| is_ended_orphan(own, *process)).map(|process| process.pid).collect()
}

fn is_ended_orphan(own: Process, process: Process) -> bool {
    let was_started_here =
        process.session == own.session && (process.group == process.pid || process.group == own.group);
    process.is_zombie && process.parent == own.pid && !was_started_here
}

fn read(process: &str) -> Option<Process> {
    parse(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

/// Parses `1 (name) S parent group session …`, in which the name may contain any character.
fn parse(stat: &str) -> Option<Process> {
    let (before, after) = stat.rsplit_once(") ")?;
    let pid = before.split_once(" (")?.0.parse().ok()?;
    let mut fields = after.split(' ');
    let is_zombie = fields.next()? == "Z";
    let mut number = || fields.next()?.parse().ok();
    Some(Process { pid, is_zombie, parent: number()?, group: number()?, session: number()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "1 (pushpost) S 0 1 1 0 -1 4194560";

    fn is_reaped(stat: &str) -> bool {
        is_ended_orphan(parse(OWN).unwrap(), parse(stat).unwrap())
    }

    #[test]
    fn only_ended_orphans_are_reaped() {
        assert!(is_reaped("30 (postgres) Z 1 30 30 0 -1"), "a postmaster, in a session of its own");
        assert!(is_reaped("31 (a) Z 1) Z 1 29 1 0 -1"), "the child of a program that was killed");
        assert!(!is_reaped("30 (postgres) S 1 30 30 0 -1"), "it has not ended");
        assert!(!is_reaped("32 (postgres) Z 30 32 32 0 -1"), "it has another parent");
        assert!(!is_reaped("33 (pg_ctl) Z 1 33 1 0 -1"), "started here, in a group of its own");
        assert!(!is_reaped("34 (id) Z 1 1 1 0 -1"), "started here");
    }
}
