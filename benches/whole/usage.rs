//! What processes used, as the kernel has counted it (`proc(5)`).

use std::fs;
use std::ops::Sub;
use std::time::Duration;

use anyhow::Context as _;

/// The kernel tells times to programs in hundredths of a second, on every machine (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// CPU seconds by process.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Cpu {
    /// CPU of the service.
    pub(crate) dispatcher: Duration,
    /// Postmaster, backends and all that it ever started.
    pub(crate) postgres: Duration,
    /// The stand-ins for the providers.
    pub(crate) simulator: Duration,
    /// This process: bare client, load, and the asking for outcomes.
    pub(crate) harness: Duration,
}

/// The processes that are measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    pub(crate) service: u32,
    pub(crate) postmaster: u32,
    pub(crate) simulator: u32,
}

impl Meter {
    /// What they have used so far.
    pub(crate) fn read(&self) -> anyhow::Result<Cpu> {
        Ok(Cpu {
            dispatcher: Times::of(self.service)?.own,
            postgres: family(self.postmaster)?,
            simulator: Times::of(self.simulator)?.own,
            harness: Times::of(std::process::id())?.own,
        })
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            dispatcher: self.dispatcher.saturating_sub(before.dispatcher),
            postgres: self.postgres.saturating_sub(before.postgres),
            simulator: self.simulator.saturating_sub(before.simulator),
            harness: self.harness.saturating_sub(before.harness),
        }
    }
}

/// Most memory that a process ever had resident, in bytes.
pub(crate) fn peak_memory(pid: u32) -> anyhow::Result<u64> {
    status(pid, "VmHWM:")
}

/// Memory that a process has resident now, in bytes.
pub(crate) fn memory(pid: u32) -> anyhow::Result<u64> {
    status(pid, "VmRSS:")
}

fn status(pid: u32, field: &str) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)).context("no such line")?;
    let kibi: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibi * 1024)
}

struct Times {
    parent: u32,
    own: Duration,
    /// Of children that have ended and been waited for.
    ended_children: Duration,
}

impl Times {
    fn of(pid: u32) -> anyhow::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Self::parse(&text).with_context(|| format!("/proc/{pid}/stat"))
    }

    /// `1 (name) S parent …`; the name may hold anything, so what counts begins at its last parenthesis.
    fn parse(text: &str) -> Option<Self> {
        let (_, after) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = after.split(' ').collect();
        let ticks = |at: usize| fields.get(at)?.parse::<u32>().ok();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own: TICK * (ticks(11)? + ticks(12)?),
            ended_children: TICK * (ticks(13)? + ticks(14)?),
        })
    }
}

/// A process with its children, those that have ended included.
fn family(pid: u32) -> anyhow::Result<Duration> {
    let alive: Duration = processes()?.filter(|times| times.parent == pid).map(|times| times.own).sum();
    let head = Times::of(pid)?;
    Ok(alive + head.own + head.ended_children)
}

/// The parent of a process.
pub(crate) fn parent_of(pid: u32) -> anyhow::Result<u32> {
    Ok(Times::of(pid)?.parent)
}

fn processes() -> anyhow::Result<impl Iterator<Item = Times>> {
    let pids = fs::read_dir("/proc")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // One that ends meanwhile is counted with its parent.
    Ok(pids.filter_map(|pid: u32| Times::of(pid).ok()))
}
