//! Runs Postgres's programs: as the right user, from a folder, with a small environment and a deadline. The end of their
//! output goes into the error.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use super::account::Account;
use super::error::Error;
use super::locks::ServerLock;
use super::programs::Programs;

/// How much of a program's output goes into an error, in bytes: its end, where the cause is.
const DETAIL_BYTES: usize = 600;
/// Deadline of programs that take milliseconds: `sh`, `pg_ctl kill`.
pub(super) const SHORT: Duration = Duration::from_secs(20);

/// Gives a program its standard input as file 9, and nothing to read. Shells and `pg_ctl` leave file 9 open for
/// what they start.
const KEEP_INPUT_OPEN: &str = r#"exec "$@" 9<&0 < /dev/null"#;

/// Runs one installation's programs as one user.
#[derive(Debug, Clone)]
pub(super) struct Runner {
    account: Account,
    programs: Programs,
}

impl Runner {
    pub(super) fn new(account: Account, programs: Programs) -> Self {
        Self { account, programs }
    }

    pub(super) fn with_account(self, account: Account) -> Self {
        Self { account, ..self }
    }

    pub(super) fn programs(&self) -> &Programs {
        &self.programs
    }

    /// Runs one of Postgres's programs in `folder`; an exit code but 0 is an error.
    pub(super) async fn run<A: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = A>,
        folder: &Path,
        deadline: Duration,
    ) -> Result<(), Error> {
        let mut command = self.account.command(&self.programs.folder.join(program), folder);
        command.args(arguments);
        succeeded(program, output(program, command, deadline).await?)
    }

    /// The same; the processes that the program starts inherit the server's lock and hold it until the last one ends.
    pub(super) async fn run_with_lock<A: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = A>,
        folder: &Path,
        deadline: Duration,
        lock: ServerLock,
    ) -> Result<(), Error> {
        let mut command = self.account.command(Path::new("/bin/sh"), folder);
        command.args(["-c", KEEP_INPUT_OPEN, "sh"]).arg(self.programs.folder.join(program)).args(arguments);
        succeeded(program, output_of(program, command, lock.into_stdin(), deadline).await?)
    }

    /// Runs a shell script in `folder` as the same user and returns what it printed, whatever its exit code.
    pub(super) async fn script(&self, script: &str, argument: &Path, folder: &Path) -> Result<String, Error> {
        let mut command = self.account.command(Path::new("/bin/sh"), folder);
        command.args(["-c", script, "sh"]).arg(argument);
        let output = output("sh", command, SHORT).await?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Runs a command to its end, without our standard input; killed if dropped or late.
pub(super) async fn output(name: &str, command: Command, deadline: Duration) -> Result<Output, Error> {
    output_of(name, command, Stdio::null(), deadline).await
}

async fn output_of(
    name: &str,
    mut command: Command,
    input: Stdio,
    deadline: Duration,
) -> Result<Output, Error> {
    command.stdin(input);
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true);
    let failed = |detail: String| Error::Program { program: name.to_owned(), detail };
    match tokio::time::timeout(deadline, command.output()).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("not done within {} s", deadline.as_secs()))),
    }
}

fn succeeded(program: &str, output: Output) -> Result<(), Error> {
    if output.status.success() {
        return Ok(());
    }
    let words = [output.stdout, output.stderr].concat();
    let detail = format!("{}: {}", output.status, one_line(&words));
    Err(Error::Program { program: program.to_owned(), detail })
}

/// The end of a program's output or of a log, on one line.
pub(super) fn one_line(words: &[u8]) -> String {
    let words = &words[words.len().saturating_sub(DETAIL_BYTES)..];
    let words = String::from_utf8_lossy(words);
    words.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" | ")
}
