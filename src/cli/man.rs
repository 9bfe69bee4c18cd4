//! `pushpost man`: the manual, one page per command, made of what `--help` says. `docs/man` holds the committed pages.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_mangen::Man;

use super::Cli;
use super::command_error::CommandError;

/// The date in the pages: the last change of the manual. A page without a date is a fault to `mandoc -T lint`, and the day
/// of the build would change the committed pages every day.
const DATE: &str = "2026-11-30";

/// Longest line of a page's source, in bytes.
const LINE_MAX: usize = 80;

/// Write the manual, one page per command, to a folder
///
/// For example: pushpost man /usr/local/share/man/man1
#[derive(Args, Debug)]
pub(super) struct ManArgs {
    /// The folder, which is created if it is missing
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// A page of the manual.
struct Page {
    /// The name of its file, such as `pushpost-queue.1`.
    name: String,
    text: String,
}

impl ManArgs {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let folder = self.folder.display();
        std::fs::create_dir_all(&self.folder).with_context(|| format!("cannot create {folder}"))?;
        let pages = pages()?;
        for page in &pages {
            let path = self.folder.join(&page.name);
            let written = std::fs::write(&path, &page.text);
            written.with_context(|| format!("cannot write {}", path.display()))?;
        }
        eprintln!("{} pages are written to {folder}", pages.len());
        Ok(())
    }
}

/// The pages of all commands, the program's own first.
fn pages() -> anyhow::Result<Vec<Page>> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut pages = Vec::new();
    add_pages(program, &mut pages).context("the manual can't be written")?;
    Ok(pages)
}

fn add_pages(command: clap::Command, pages: &mut Vec<Page>) -> std::io::Result<()> {
    let inner: Vec<_> = command.get_subcommands().filter(|inner| !inner.is_hide_set()).cloned().collect();
    let source = concat!("pushpost ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command).date(DATE).source(source).manual("Pushpost");
    let name = man.get_filename();
    let man = man.title(name.trim_end_matches(".1").to_uppercase());
    let mut text = Vec::new();
    man.render(&mut text)?;
    pages.push(Page { name, text: tidy(&String::from_utf8_lossy(&text)) });
    inner.into_iter().try_for_each(|command| add_pages(command, pages))
}

/// The page as `mandoc -T lint` wants it, which looks the same: short lines of the source, without spaces at their ends, and
/// no line break beside an empty line.
fn tidy(page: &str) -> String {
    let lines: Vec<&str> = page.lines().map(str::trim_end).collect();
    let is_break = |line: Option<&&str>| line.is_some_and(|line| line.is_empty() || *line == ".br");
    let mut tidied = String::new();
    for (at, line) in lines.iter().enumerate() {
        match *line {
            // Of a break, an empty line and a break, one paragraph stays.
            "" | ".br" if at > 0 && is_break(lines.get(at - 1)) => {}
            "" | ".br" if is_break(lines.get(at + 1)) => tidied += ".sp\n",
            command if command.starts_with(['.', '\'']) => tidied += &format!("{command}\n"),
            text => wrap(text, &mut tidied),
        }
    }
    tidied
}

/// Adds the words in lines of at most [`LINE_MAX`] bytes. The reader fills lines again.
fn wrap(text: &str, page: &mut String) {
    let mut length = 0;
    for word in text.split(' ') {
        let is_fitting = length + 1 + word.len() <= LINE_MAX;
        // A line that began so would be a command.
        let is_command = word.starts_with(['.', '\'']);
        match length {
            0 => {}
            _ if is_fitting || is_command => page.push(' '),
            _ => page.push('\n'),
        }
        length = if length > 0 && (is_fitting || is_command) { length + 1 + word.len() } else { word.len() };
        page.push_str(word);
    }
    page.push('\n');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;

    #[test]
    fn a_tidy_page_has_short_lines_and_no_break_beside_an_empty_line() {
        let word = "x".repeat(50);
        assert_eq!(tidy(&format!(".SH A\n{word} b \n")), format!(".SH A\n{word} b\n"));
        assert_eq!(tidy(&format!("{word} {word}\n")), format!("{word}\n{word}\n"));
        assert_eq!(tidy(&format!("{word} ...{word}\n")), format!("{word} ...{word}\n"), "no command");
        assert_eq!(tidy("A\n.br\n\n.br\nB\n"), "A\n.sp\nB\n");
        assert_eq!(tidy("A\n.br\nB\n"), "A\n.br\nB\n");
    }

    /// With `MAN_WRITE` set, the committed pages are written instead (scripts/man).
    #[test]
    fn the_committed_pages_are_up_to_date() {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/man"));
        if std::env::var_os("MAN_WRITE").is_some() {
            let _missing = std::fs::remove_dir_all(folder);
            ManArgs { folder: folder.to_owned() }.run().expect("pages");
        }
        let committed = std::fs::read_dir(folder).expect("docs/man").map(|entry| {
            let entry = entry.expect("an entry");
            let text = std::fs::read_to_string(entry.path()).expect("a page");
            (entry.file_name().into_string().expect("a name"), text)
        });
        let committed: BTreeMap<_, _> = committed.collect();
        let pages = pages().expect("pages").into_iter();
        let pages = pages.map(|page| (page.name, page.text));
        let pages: BTreeMap<_, _> = pages.collect();
        let names = |pages: &BTreeMap<String, String>| pages.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&committed), names(&pages), "run scripts/man, and commit docs/man");
        for (name, text) in &pages {
            assert!(committed[name] == *text, "docs/man/{name} is old: run scripts/man, and commit it");
        }
    }
}
