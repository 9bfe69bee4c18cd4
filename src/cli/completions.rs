//! `pushpost completions`: the script by which a shell completes commands and arguments.

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, ValueEnum};
use clap_complete::Shell;

use super::Cli;
use super::command_error::CommandError;
use super::output;

/// Print the script that completes commands and arguments in a shell
///
/// For example: pushpost completions bash > /usr/share/bash-completion/completions/pushpost
#[derive(Args, Debug)]
pub(super) struct CompletionsArgs {
    /// The shell that reads the script
    #[arg(value_name = "SHELL", value_enum)]
    shell: ShellName,
}

#[derive(Clone, Copy, ValueEnum, Debug)]
enum ShellName {
    /// The file is read as completions/pushpost in a folder of bash-completion
    Bash,
    /// The file is read as _pushpost in a folder of $fpath
    Zsh,
    /// The file is read as ~/.config/fish/completions/pushpost.fish
    Fish,
}

impl CompletionsArgs {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let shell = match self.shell {
            ShellName::Bash => Shell::Bash,
            ShellName::Zsh => Shell::Zsh,
            ShellName::Fish => Shell::Fish,
        };
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "pushpost", &mut script);
        let script = String::from_utf8(script).context("the script is no UTF-8")?;
        Ok(output::line(script.trim_end())?)
    }
}
