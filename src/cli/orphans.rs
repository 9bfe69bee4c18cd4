//! Process 1 of a container is given the processes whose parents have ended, Postgres's for instance, and must collect
//! them when they end. Else they stay as zombies, whose numbers look taken to programs that ask for them.
//!
//! Children that this program has started are left alone: their exit codes belong to the code that waits for them.
//! They are in this program's session, and each leads its own process group or is in this program's; no other
//! process is both.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, waitpid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

/// A signal that came while another one was handled may be lost.
const INTERVAL: Duration = Duration::from_secs(1);

/// What `/proc/<pid>/stat` says about a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Process {
    pid: i32,
    is_zombie: bool,
    parent: i32,
    group: i32,
    session: i32,
}

/// Whether this program has to do it.
pub(super) fn is_our_duty() -> bool {
    std::process::id() == 1
}

/// Collects orphans that have ended, for as long as it is polled.
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

/// `1 (name) S parent group session …`; the name may hold anything.
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
    fn only_ended_children_that_others_have_started_are_reaped() {
        assert!(is_reaped("30 (postgres) Z 1 30 30 0 -1"), "a postmaster, in a session of its own");
        assert!(is_reaped("31 (a) Z 1) Z 1 29 1 0 -1"), "left by a program that was killed");
        assert!(!is_reaped("30 (postgres) S 1 30 30 0 -1"), "it lives");
        assert!(!is_reaped("32 (postgres) Z 30 32 32 0 -1"), "its parent is another");
        assert!(!is_reaped("33 (pg_ctl) Z 1 33 1 0 -1"), "started here, in a group of its own");
        assert!(!is_reaped("34 (id) Z 1 1 1 0 -1"), "started here");
    }
}
