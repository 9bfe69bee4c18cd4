//! Tells a release build the commit that it is made from, for the metric `pushpost_build_info`.
//!
//! The variable `PUSHPOST_COMMIT` says it where there is no checkout, as in the build of an image. Builds for development are
//! not told, because each commit would compile the crate again.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=PUSHPOST_COMMIT");
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let is_told = std::env::var("PUSHPOST_COMMIT").is_ok_and(|commit| !commit.is_empty());
    if !is_release || is_told {
        return;
    }
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return };
    println!("cargo:rustc-env=PUSHPOST_COMMIT={commit}");
    // It changes with each commit and each checkout.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| Path::new(log).exists()) {
        println!("cargo:rerun-if-changed={log}");
    }
}

/// What git answers about the checkout of this folder. None: this is no checkout, or git is not installed.
fn git(arguments: &[&str]) -> Option<String> {
    // An unpacked archive within another checkout is not that checkout.
    if !Path::new(".git").exists() {
        return None;
    }
    let output =
        Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    let answer = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!answer.is_empty()).then_some(answer)
}
