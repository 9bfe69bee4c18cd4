//! Parses the list of levels in `PUSHPOST_LOG`: `info`, or by target, `info,pushpost::api=debug`.
//!
//! Stricter than `tracing`, for which a misspelt level is a target, and everything else is then off.

use std::fmt;

use super::{ATTEMPT_TARGET, AUDIT_TARGET, REQUEST_TARGET};
use crate::domain::nearest_by_start;
use tracing_subscriber::filter::{LevelFilter, Targets};

/// The levels, from the fewest lines to the most.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// Crates that are accepted as targets. None of them logs secrets at any level.
const CRATES: [&str; 12] = [
    "axum",
    "h2",
    "hyper",
    "hyper_util",
    "pushpost",
    "pushpost_embedded_postgres",
    "pushpost_simulator",
    "reqwest",
    "rustls",
    "sqlx",
    "tokio",
    "tower_http",
];
/// The modules of this crate, sorted.
const MODULES: [&str; 17] = [
    "api",
    "audience",
    "cli",
    "config",
    "dispatch",
    "domain",
    "events",
    "maintenance",
    "notifications",
    "provider",
    "pruning",
    "queue",
    "registry",
    "runtime",
    "settings",
    "store",
    "telemetry",
];

/// Targets that are no module: what is logged about each request, each attempt, and each action of an operator.
const SUBJECTS: [&str; 3] = [REQUEST_TARGET, ATTEMPT_TARGET, AUDIT_TARGET];

/// Modules that have become crates, and are still accepted by their old name.
const FORMER_MODULES: [(&str, &str); 1] = [("pushpost::embedded_postgres", "pushpost_embedded_postgres")];

/// Why a text is not a list of levels.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadLevels {
    /// The list is empty.
    #[error("no level is given; {allowed}", allowed = allowed())]
    Empty,
    /// An unknown level.
    #[error("{0:?} is not a level{hint}; {allowed}", hint = suggestion(.0, &LEVELS), allowed = allowed())]
    Level(String),
    /// A target without a level.
    #[error("{0:?} is a target and needs a level, such as \"{0}=debug\"; {allowed}", allowed = allowed())]
    Bare(String),
    /// An unknown target.
    #[error("{0:?} is not a target{hint}; {allowed}", hint = suggestion(.0, &CRATES), allowed = allowed())]
    Target(String),
}

/// Parses a list of levels. If it has levels of targets only, `base` applies to all other targets. `foreign` accepts
/// targets of other programs, which have no effect here.
///
/// # Errors
/// See [`BadLevels`].
pub(super) fn parse(text: &str, base: &str, foreign: bool) -> Result<Targets, BadLevels> {
    let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return Err(BadLevels::Empty);
    }
    let mut targets = Vec::new();
    let mut default = None;
    for part in parts {
        match part.split_once('=') {
            None => default = Some(default_level(part)?),
            Some((target, word)) => {
                if !foreign && !is_target(current_name(target.trim())) {
                    return Err(BadLevels::Target(target.trim().to_owned()));
                }
                let word = word.trim();
                let level = level(word).ok_or_else(|| BadLevels::Level(word.to_owned()))?;
                targets.push((current_name(target.trim()).to_owned(), level));
            }
        }
    }
    let rest = match default {
        Some(level) => Targets::new().with_default(level),
        None => base.parse().expect("the built-in levels are valid"),
    };
    Ok(rest.with_targets(targets))
}

fn default_level(word: &str) -> Result<LevelFilter, BadLevels> {
    level(word).ok_or_else(|| match is_target(word) {
        true => BadLevels::Bare(word.to_owned()),
        false => BadLevels::Level(word.to_owned()),
    })
}

/// Numbers are not accepted: those of `tracing` differ from those of syslog.
fn level(word: &str) -> Option<LevelFilter> {
    let is_level = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    is_level.then(|| word.parse().ok()).flatten()
}

fn current_name(target: &str) -> &str {
    FORMER_MODULES.iter().find(|(former, _)| *former == target).map_or(target, |(_, current)| *current)
}

fn is_target(target: &str) -> bool {
    if SUBJECTS.contains(&target) {
        return true;
    }
    let mut path = target.split("::");
    match (path.next(), path.next()) {
        (Some("pushpost"), Some(module)) => MODULES.contains(&module),
        (Some(name), _) => CRATES.contains(&name),
        _ => false,
    }
}

fn allowed() -> impl fmt::Display {
    let (levels, crates, subjects) = (LEVELS.join(", "), CRATES.join(", "), SUBJECTS.join(", "));
    format!(
        "levels are {levels}, alone or by target, such as \"info,pushpost::api=debug\"; targets are {crates} and their modules, {subjects}"
    )
}

fn suggestion(word: &str, known: &[&str]) -> String {
    match nearest_by_start(word, known.iter().copied()) {
        Some(name) => format!(" (did you mean {name:?}?)"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "info,sqlx=warn";

    fn read(text: &str) -> Result<String, String> {
        parse(text, BASE, false).map(|levels| levels.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn levels_are_read_alone_and_by_target() {
        let same = |text: &str, expected: &str| {
            let expected: Targets = expected.parse().expect("levels");
            assert_eq!(parse(text, BASE, false).expect("right"), expected, "{text}");
        };
        same("debug", "debug");
        same(" WARN , pushpost::api=Trace,", "warn,pushpost::api=trace");
        same("pushpost::api::serve=debug", "info,sqlx=warn,pushpost::api::serve=debug");
        same("pushpost::request=debug", "info,sqlx=warn,pushpost::request=debug");
        same("pushpost::embedded_postgres=debug", "info,sqlx=warn,pushpost_embedded_postgres=debug");
        same("sqlx=info", "info,sqlx=info");
        same("off", "off");
    }

    #[test]
    fn errors_name_the_allowed_levels_and_targets() {
        let warning = read("warning").expect_err("no level");
        assert!(
            warning.starts_with(r#""warning" is not a level (did you mean "warn"?); levels are off, "#),
            "{warning}"
        );
        assert!(warning.contains("targets are axum, h2"), "{warning}");
        for (text, begin) in [
            ("information", r#""information" is not a level (did you mean "info"?); "#),
            ("3", r#""3" is not a level; "#),
            ("info,pushpost=verbose", r#""verbose" is not a level; "#),
            ("pushpost", r#""pushpost" is a target and needs a level, such as "pushpost=debug"; "#),
            ("pushpots=debug", r#""pushpots" is not a target (did you mean "pushpost"?); "#),
            ("pushpost::apj=debug", r#""pushpost::apj" is not a target"#),
            ("pushpost=info=debug", r#""info=debug" is not a level"#),
            ("[span]=debug", r#""[span]" is not a target; "#),
            ("yup_oauth2=debug", r#""yup_oauth2" is not a target; "#),
            (" , ", "no level is given; "),
        ] {
            let error = read(text).expect_err("wrong");
            assert!(error.starts_with(begin), "{text}: {error}");
        }
    }

    #[test]
    fn targets_of_other_programs_are_accepted_if_asked_for() {
        assert!(parse("info,another::program=debug", BASE, true).is_ok());
        assert!(parse("warning", BASE, true).is_err());
    }

    #[test]
    fn every_module_is_a_target() {
        let library = include_str!("../lib.rs").lines();
        let mut modules: Vec<_> = library
            .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
            .collect();
        modules.sort_unstable();
        assert_eq!(modules, MODULES);
    }
}
