//! The configuration, and the files that it names: whether others can read secrets, how old keys are, and when certificates
//! expire.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::certificates;
use super::findings::{Finding, Findings};
use super::system::now;
use crate::cli::command_error::CommandError;
use crate::cli::config_check::{summary, warnings};
use crate::cli::output;
use crate::config::{Config, Error, Sources};
use crate::settings::ConfigFile;

/// Read and traverse permissions of every user of the machine.
const OTHERS_READ: u32 = 0o004;
const OTHERS_ENTER: u32 = 0o001;
/// A certificate that ends within this time is a warning.
const EXPIRY_WARNING: chrono::TimeDelta = chrono::TimeDelta::days(30);

/// Checks the configuration and its files. Returns the configuration if it has no fault.
pub(super) async fn check(
    sources: &Sources,
    findings: &mut Findings,
) -> Result<Option<Config>, CommandError> {
    let checked = match sources.check().await {
        Ok(checked) => checked,
        Err(error) => {
            let hint = "name the file by --config FILE or PUSHPOST_CONFIG";
            let error = match error {
                Error::Unreadable { path, source } => format!("cannot read {}: {source}", path.display()),
                faults @ Error::Faults(_) => faults.to_string(),
            };
            findings.add(Finding::fail("config", error).hint(hint))?;
            return Ok(None);
        }
    };
    for fault in &checked.faults {
        findings.add(Finding::fail("config", fault.to_string()))?;
    }
    if checked.faults.is_empty() {
        findings.add(Finding::ok("config", summary(&checked)))?;
        for warning in warnings(sources, &checked) {
            findings.add(Finding::warn("config", warning))?;
        }
    }
    for file in &checked.files {
        findings.add(check_file(file))?;
    }
    let authorities: BTreeSet<&Path> =
        checked.files.iter().filter(|file| file.key.ends_with("ca_file")).map(|file| &*file.path).collect();
    for path in authorities {
        findings.add(check_certificates(path))?;
    }
    Ok(checked.faults.is_empty().then_some(checked.config))
}

fn check_file(ConfigFile { key, path, is_secret }: &ConfigFile) -> Finding {
    let place = format!("{key} ({})", path.display());
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return Finding::fail("file", format!("{place} can't be read: {error}")),
    };
    let age = age(&metadata).map(|age| format!(", {age} old")).unwrap_or_default();
    let mode = metadata.permissions().mode() & 0o7777;
    if *is_secret && mode & OTHERS_READ != 0 && is_reachable_by_others(path) {
        let message =
            format!("{place} is a secret that every user of this machine can read (mode {mode:04o}){age}");
        return Finding::warn("file", message).hint(format!("chmod o-rwx {}", path.display()));
    }
    Finding::ok("file", format!("{place} can be read (mode {mode:04o}){age}"))
}

/// Whether every user may enter all folders above the file.
fn is_reachable_by_others(path: &Path) -> bool {
    let path: PathBuf = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    path.ancestors().skip(1).all(|folder| {
        std::fs::metadata(folder).is_ok_and(|folder| folder.permissions().mode() & OTHERS_ENTER != 0)
    })
}

/// The time since the file was written: the age of a key, unless it was copied since.
fn age(metadata: &Metadata) -> Option<String> {
    let written = chrono::DateTime::<chrono::Utc>::from(metadata.modified().ok()?);
    Some(output::age((now() - written).as_seconds_f64()))
}

fn check_certificates(path: &Path) -> Finding {
    let shown = path.display();
    let ends = std::fs::read(path).map(|text| certificates::ends(&text)).unwrap_or_default();
    let Some(first) = ends.iter().min() else {
        return Finding::warn(
            "certificate",
            format!("{shown} has no certificate with an end that can be read"),
        );
    };
    let end = first.format("%Y-%m-%d");
    let hint = "put the authority's new certificate beside the old one in the file";
    match *first - now() {
        left if left < chrono::TimeDelta::zero() => {
            Finding::fail("certificate", format!("a certificate in {shown} has expired on {end}")).hint(hint)
        }
        left if left < EXPIRY_WARNING => {
            Finding::warn("certificate", format!("a certificate in {shown} expires on {end}")).hint(hint)
        }
        _ => Finding::ok("certificate", format!("the first certificate in {shown} expires on {end}")),
    }
}
