//! A `pushpost` in a process of its own, as users run it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use pushpost_testkit::processes::{command, program};
use tokio::process::{ChildStdout, Command};

use crate::wait::within;
use crate::watchdog::{Ward, Watchdog};

/// A process drains what is in flight when it is told to end.
const END: Duration = Duration::from_secs(60);
/// How much of its log an error quotes, in lines.
const LOG_LINES: usize = 20;

/// A process; killed when dropped, and when we die.
pub(crate) struct Child {
    child: tokio::process::Child,
    pid: u32,
    log: PathBuf,
    watchdog: Arc<Watchdog>,
}

impl Child {
    /// Starts it. What it says goes to `log`.
    pub(crate) fn start(
        arguments: &[&str],
        variables: &[(String, String)],
        log: &Path,
        watchdog: &Arc<Watchdog>,
    ) -> anyhow::Result<Self> {
        let stderr = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = command(program());
        command.args(arguments).envs(variables.iter().cloned());
        command.stdout(Stdio::piped()).stderr(stderr);
        let child = command.spawn().context("cannot start pushpost")?;
        let pid = child.id().context("it has a number until it is waited for")?;
        watchdog.guard(Ward::child(pid))?;
        Ok(Self { child, pid, log: log.to_owned(), watchdog: watchdog.clone() })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// What it prints; there once.
    pub(crate) fn stdout(&mut self) -> anyhow::Result<ChildStdout> {
        self.child.stdout.take().context("its output was taken")
    }

    /// An error if it has ended.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("it ended: {status}; its log ends:\n{}", self.end_of_log()),
        }
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn end_of_log(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// SIGTERM, and waits.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        self.check()?;
        let term = Command::new("kill").arg("-TERM").arg(self.pid.to_string()).status();
        within(END, "sending SIGTERM", async { Ok(term.await?) }).await?;
        let ended = async { Ok(self.child.wait().await?) };
        let status = within(END, "waiting for pushpost to end", ended).await?;
        if !status.success() {
            bail!("pushpost ended badly: {status}; its log ends:\n{}", self.end_of_log());
        }
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Nothing waits for the process any more; the runtime reaps it.
        let _ = self.child.start_kill();
        self.watchdog.forget(Ward::child(self.pid));
    }
}
