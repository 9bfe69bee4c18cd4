//! The lines of `pushpost doctor`: printed as they are found, and counted for the exit code.

use std::io::IsTerminal as _;

use serde_json::json;

use crate::cli::command_error::CommandError;
use crate::cli::output;

/// What a check came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// The service works. An operator may want to look.
    Warn,
    /// The service does not work, or soon will not.
    Fail,
}

/// What one check came to, with its words.
#[derive(Debug)]
pub(super) struct Finding {
    check: &'static str,
    verdict: Verdict,
    message: String,
    hint: Option<String>,
}

/// Prints the lines, and counts them.
pub(super) struct Findings {
    as_json: bool,
    is_coloured: bool,
    warnings: usize,
    failures: usize,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }

    /// The escape sequence of its colour: green, yellow, red.
    fn colour(self) -> &'static str {
        match self {
            Self::Ok => "\x1b[32m",
            Self::Warn => "\x1b[33m",
            Self::Fail => "\x1b[31m",
        }
    }
}

impl Finding {
    /// `check` names what was checked, such as `postgres`.
    pub(super) fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, message: message.into(), hint: None }
    }

    /// As [`Self::ok`], for what an operator may want to look at.
    pub(super) fn warn(check: &'static str, message: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, ..Self::ok(check, message) }
    }

    /// As [`Self::ok`], for what must be mended.
    pub(super) fn fail(check: &'static str, message: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, ..Self::ok(check, message) }
    }

    /// Adds the operator's next step.
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    fn as_json(&self) -> String {
        let Self { check, verdict, message, hint } = self;
        json!({"check": check, "verdict": verdict.as_str(), "message": message, "hint": hint}).to_string()
    }

    fn as_text(&self, is_coloured: bool) -> String {
        let Self { check, verdict, message, hint } = self;
        let (colour, end) = if is_coloured { (verdict.colour(), "\x1b[0m") } else { ("", "") };
        let line = format!("{colour}{:4}{end}  {check}: {message}", verdict.as_str());
        hint.iter().fold(line, |line, hint| format!("{line}\n      hint: {hint}"))
    }
}

impl Findings {
    /// Lines have colours on a terminal, unless `NO_COLOR` is set.
    pub(super) fn new(as_json: bool) -> Self {
        let has_no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_coloured = std::io::stdout().is_terminal() && !has_no_colour;
        Self { as_json, is_coloured, warnings: 0, failures: 0 }
    }

    /// Prints a line.
    ///
    /// # Errors
    /// Stdout can't be written to.
    pub(super) fn add(&mut self, finding: Finding) -> Result<(), CommandError> {
        match finding.verdict {
            Verdict::Ok => {}
            Verdict::Warn => self.warnings += 1,
            Verdict::Fail => self.failures += 1,
        }
        let text = if self.as_json { finding.as_json() } else { finding.as_text(self.is_coloured) };
        Ok(output::line(&text)?)
    }

    /// # Errors
    /// A check has failed.
    pub(super) fn judge(self) -> Result<(), CommandError> {
        let counted = |number: usize, what: &str| match number {
            1 => format!("1 {what}"),
            _ => format!("{number} {what}s"),
        };
        if self.failures > 0 {
            return Err(CommandError::bad_news(format_args!(
                "{}, {}",
                counted(self.failures, "failure"),
                counted(self.warnings, "warning")
            )));
        }
        if self.warnings > 0 {
            eprintln!("{}", counted(self.warnings, "warning"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_verdict_first_and_its_hint_below() {
        let finding = Finding::warn("clock", "it is late").hint("set it");
        assert_eq!(finding.as_text(false), "warn  clock: it is late\n      hint: set it");
        assert_eq!(Finding::ok("clock", "right").as_text(true), "\x1b[32mok  \x1b[0m  clock: right");
        let json = r#"{"check":"clock","verdict":"warn","message":"it is late","hint":"set it"}"#;
        assert_eq!(finding.as_json(), json);
    }
}
