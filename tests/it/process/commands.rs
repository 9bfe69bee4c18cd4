//! Commands that are run by the real program, and how they end.

use std::process::{Output, Stdio};

use pushpost_testkit::processes::{command, program};
use pushpost_testkit::wait::WAIT_MAX;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

/// Runs a line of arguments, without stdin.
pub(super) async fn run(line: &str, variables: &[(&str, &str)]) -> Output {
    run_with_input(line, variables, "").await
}

/// Runs a line of arguments, with a text on stdin.
pub(super) async fn run_with_input(line: &str, variables: &[(&str, &str)], input: &str) -> Output {
    let mut command = command(program());
    command.args(line.split_whitespace()).envs(variables.iter().copied()).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that reads no stdin may have ended already.
    let _unread = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    timeout(WAIT_MAX, child.wait_with_output()).await.expect("a command ends").unwrap()
}

#[track_caller]
pub(super) fn assert_ended(output: &Output, code: i32, out: &[&str], err: &[&str]) {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{stdout}\n{stderr}");
    out.iter().for_each(|part| assert!(stdout.contains(part), "{part} is not in:\n{stdout}"));
    err.iter().for_each(|part| assert!(stderr.contains(part), "{part} is not in:\n{stderr}"));
    if out.is_empty() {
        assert_eq!(stdout, "");
    }
    if err.is_empty() {
        assert_eq!(stderr, "");
    }
}
