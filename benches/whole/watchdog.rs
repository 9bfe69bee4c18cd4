//! Ends what this process started if this process ends without doing so: a shell reads what is to be ended, and ends it
//! as soon as its input ends.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;

/// Reads lines `+ SIGNAL PID` and `- SIGNAL PID`; at the end of its input it sends what is left of them.
const SCRIPT: &str = r#"
alive=
while read -r verb signal pid; do
  case $verb in
    +) alive="$alive $signal/$pid" ;;
    -) kept=
       for one in $alive; do [ "$one" = "$signal/$pid" ] || kept="$kept $one"; done
       alive=$kept ;;
  esac
done
for one in $alive; do kill -"${one%/*}" "${one#*/}"; done
"#;

/// A process, and the signal that ends it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ward {
    signal: &'static str,
    pid: u32,
}

impl Ward {
    /// A process of ours.
    pub(crate) fn child(pid: u32) -> Self {
        Self { signal: "KILL", pid }
    }

    /// A Postgres, which keeps its data whole: what Postgres calls a fast shutdown.
    pub(crate) fn postmaster(pid: u32) -> Self {
        Self { signal: "INT", pid }
    }
}

/// The shell that ends the processes.
pub(crate) struct Watchdog {
    shell: Mutex<Child>,
}

impl Watchdog {
    /// Starts it, in a group of its own, so that a Ctrl-C leaves it to its work.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "sh"]).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let shell = command.spawn().context("cannot start the watchdog")?;
        Ok(Self { shell: Mutex::new(shell) })
    }

    /// This one is to go when we go.
    pub(crate) fn guard(&self, ward: Ward) -> anyhow::Result<()> {
        self.tell('+', ward)
    }

    /// Takes a process that has ended off the list: another process may get its number.
    pub(crate) fn forget(&self, ward: Ward) {
        // A watchdog that is gone can end nothing.
        let _ = self.tell('-', ward);
    }

    fn tell(&self, verb: char, ward: Ward) -> anyhow::Result<()> {
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        let input = shell.stdin.as_mut().context("the watchdog has no input")?;
        writeln!(input, "{verb} {} {}", ward.signal, ward.pid).context("the watchdog is gone")
    }
}
