//! Where, and of what, the figures are.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

/// A machine is left alone up to here: cargo has just been at work.
const NEIGHBOURS_MAX: f64 = 1.5;

/// Facts of the machine and of the sources.
pub(crate) fn facts() -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let commit = said("git", &["rev-parse", "HEAD"]);
    let changed = !said("git", &["status", "--porcelain"]).is_empty();
    json!({
        "commit": commit,
        "uncommitted_changes": changed,
        "cpu": value_of(&cpu, "model name"),
        "cores": std::thread::available_parallelism().map(usize::from).unwrap_or_default(),
        "memory": value_of(&memory, "MemTotal"),
        "kernel": said("uname", &["-sr"]),
        "load_before": fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
        "rustc": said("rustc", &["--version"]),
    })
}

/// How many others wanted a core within the last minute, where that spoils the figures.
pub(crate) fn neighbours() -> Option<f64> {
    let average = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = average.split(' ').next()?.parse().ok()?;
    (load > NEIGHBOURS_MAX).then_some(load)
}

/// The value of the first line of this name.
fn value_of(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
    line.unwrap_or_default().trim().to_owned()
}

/// What a program prints; nothing where it is not there.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}
