//! What documents say of each other and of the code: headings, files, settings, terms and log messages exist.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Folders with files that may point to documents.
const FOLDERS: &[&str] = &["src", "tests", "benches", "crates", "docs", "deploy", "migrations", "scripts"];
const FILES: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "Cargo.toml",
    "config.example.toml",
    "Makefile",
];
const EXTENSIONS: &[&str] = &["rs", "md", "sql", "toml", "py", "sh", "yml", ""];

/// All files that may point to documents, with their texts, by their paths below `root`.
pub(crate) fn texts(root: &Path) -> Vec<(String, String)> {
    let mut paths: Vec<PathBuf> = FILES.iter().map(|file| root.join(file)).collect();
    for folder in FOLDERS {
        collect(&root.join(folder), &mut paths);
    }
    paths.sort();
    let name = |path: &Path| path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
    // The cases have dead pointers on purpose.
    let own = root.join("tests/layers/cases.rs");
    let others = paths.iter().filter(|path| **path != own);
    others.filter_map(|path| Some((name(path), fs::read_to_string(path).ok()?))).collect()
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("a folder can be listed").path();
        let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            collect(&path, into);
        } else if EXTENSIONS.contains(&extension.as_str()) {
            into.push(path);
        }
    }
}

/// Pointers to documents, headings or files that don't exist, each with the file and line that has it.
pub(crate) fn dead_pointers(texts: &[(String, String)], exists: impl Fn(&str) -> bool) -> Vec<String> {
    let documents = texts.iter().filter(|(path, _)| path.ends_with(".md"));
    let anchors: HashMap<&str, HashSet<String>> =
        documents.map(|(path, text)| (path.as_str(), headings(text))).collect();
    let mut faults = Vec::new();
    for (path, text) in texts {
        for (line, text) in (1..).zip(text.lines()) {
            let mut check = |document: &str, anchor: Option<&str>| {
                let known = anchors.get(document);
                if known.is_none() && !exists(document) {
                    faults.push(format!("{path}:{line}: {document} does not exist"));
                } else if let (Some(known), Some(anchor)) = (known, anchor)
                    && !known.contains(anchor)
                {
                    faults.push(format!("{path}:{line}: {document} has no heading #{anchor}"));
                }
            };
            for (document, anchor) in pointers(text) {
                check(&document, Some(&anchor));
            }
            for numbered in numbers(text) {
                check(&format!("a heading numbered as in \"{numbered}\""), None);
            }
            if path.ends_with(".md") {
                for (target, anchor) in links(text) {
                    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                    let document = if target.is_empty() { path.clone() } else { resolve(folder, &target) };
                    check(&document, anchor.as_deref());
                }
            }
        }
    }
    faults
}

/// Paths of this repository that a document has in backticks and that don't exist; `(new)` behind one says so.
pub(crate) fn dead_paths(document: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut faults = Vec::new();
    for (line, text) in (1..).zip(document.lines()) {
        let parts: Vec<&str> = text.split('`').collect();
        for (at, part) in parts.iter().enumerate().filter(|(at, _)| at % 2 == 1) {
            let is_path = FOLDERS
                .iter()
                .any(|folder| part.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')));
            let is_plain = !part.contains(['*', '<', ' ', '{', '#']);
            let is_new = parts.get(at + 1).is_some_and(|after| after.starts_with(" (new)"));
            if is_path && is_plain && !is_new && !exists(part) {
                faults.push(format!("{line}: {part} does not exist"));
            }
        }
    }
    faults
}

/// The anchors of a document's headings, as GitHub makes them.
pub(crate) fn headings(text: &str) -> HashSet<String> {
    let mut in_block = false;
    let mut anchors = HashSet::new();
    for line in text.lines() {
        in_block ^= line.trim_start().starts_with("```");
        if !in_block && line.starts_with('#') {
            anchors.insert(anchor(line.trim_start_matches('#').trim()));
        }
    }
    anchors
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// `docs/queue.md#claim, #hand-over` is two pointers to one document.
fn pointers(line: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.find("docs/") {
        rest = &rest[at + "docs/".len()..];
        let name = word(rest);
        rest = &rest[name.len()..];
        let Some(mut after) = rest.strip_prefix(".md#") else { continue };
        loop {
            let anchor = word(after);
            found.push((format!("docs/{name}.md"), anchor.to_owned()));
            after = &after[anchor.len()..];
            match after.strip_prefix(", #") {
                Some(next) => after = next,
                None => break,
            }
        }
        rest = after;
    }
    found
}

/// Pointers by number, which nothing keeps right: a document's path, then a digit.
fn numbers(line: &str) -> Vec<&str> {
    let starts = line.match_indices("docs/").map(|(at, _)| &line[at..]);
    starts
        .filter_map(|start| {
            let end = "docs/".len() + word(&start["docs/".len()..]).len();
            let digits = start[end..].strip_prefix(".md ")?;
            digits.starts_with(|c: char| c.is_ascii_digit()).then(|| &start[..end + ".md 0".len()])
        })
        .collect()
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')));
    &text[..end.unwrap_or(text.len())]
}

/// Targets of Markdown's links into this repository: path and anchor.
fn links(line: &str) -> Vec<(String, Option<String>)> {
    let ends = line.match_indices("](").map(|(at, _)| &line[at + 2..]);
    let targets = ends.filter_map(|text| text.split_once(')')).map(|(target, _)| target);
    let own = targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"));
    own.map(|target| match target.split_once('#') {
        Some((path, anchor)) => (path.to_owned(), Some(anchor.to_owned())),
        None => (target.to_owned(), None),
    })
    .collect()
}

fn resolve(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The keys of `config.example.toml`, each after its table's name: `server.listen`. Keys that are commented out count.
pub(crate) fn example_keys(example: &str) -> HashSet<String> {
    let mut keys = HashSet::new();
    let mut table = String::new();
    for line in example.lines() {
        // A setting that is commented out begins right after `#`; text has a space there.
        let line = line.strip_prefix('#').unwrap_or(line);
        if let Some(name) = line.strip_prefix('[') {
            table = table_name(name.trim_matches(['[', ']']));
        } else if let Some((key, _)) = line.split_once(" = ")
            && word(key) == key
        {
            keys.insert(format!("{table}.{key}"));
        }
    }
    keys
}

/// The keys of `docs/configuration.md`: first cells of the tables below a heading that is a table's name.
pub(crate) fn documented_keys(document: &str) -> HashSet<String> {
    let mut keys = HashSet::new();
    let mut table = None;
    for line in document.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            let name = heading.strip_prefix("`[").and_then(|name| name.strip_suffix("]`"));
            table = name.map(|name| table_name(name.trim_matches(['[', ']'])));
        } else if let Some(table) = &table
            && let Some((key, _)) = line.strip_prefix("| `").and_then(|row| row.split_once('`'))
        {
            keys.insert(format!("{table}.{key}"));
        }
    }
    keys
}

/// `apps.shop.apns` and `apps.<app>.apns` are the same table.
fn table_name(name: &str) -> String {
    match name.strip_prefix("apps.").map(|rest| rest.split_once('.')) {
        Some(Some((_, rest))) => format!("apps.<app>.{rest}"),
        Some(None) => "apps.<app>".to_owned(),
        None => name.to_owned(),
    }
}

/// The lines of the glossary: each term with the names in code that its last column has.
pub(crate) fn glossary(document: &str) -> Vec<(String, Vec<String>)> {
    let rows = document.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = rows.map(|row| row.split(" | ").collect::<Vec<_>>());
    let terms = rows.filter(|cells| cells.len() == 3 && cells[0] != "term");
    terms
        .map(|cells| {
            (cells[0].to_owned(), cells[2].split('`').skip(1).step_by(2).map(str::to_owned).collect())
        })
        .collect()
}

/// The rows of tables with the columns `functions` and `file`: a function and the file that it is in, for each pair of
/// them in the row.
pub(crate) fn functions_in_files(document: &str) -> Vec<(String, String)> {
    let (mut pairs, mut in_table) = (Vec::new(), false);
    for line in document.lines() {
        in_table = line.starts_with("| functions | file |") || in_table && line.starts_with('|');
        let mut cells = line.split(" | ").map(|cell| cell.split('`').skip(1).step_by(2));
        let (Some(functions), Some(files), true) = (cells.next(), cells.next(), in_table) else { continue };
        let files: Vec<&str> = files.collect();
        for function in functions {
            pairs.extend(files.iter().map(|file| (function.to_owned(), (*file).to_owned())));
        }
    }
    pairs
}

/// All migrations, as one text.
pub(crate) fn sql(root: &Path) -> String {
    let mut paths = Vec::new();
    collect(&root.join("migrations"), &mut paths);
    paths.iter().filter_map(|path| fs::read_to_string(path).ok()).collect()
}

/// Log messages that the tables of `docs/operations.md` explain: what is in backticks in a first cell below the heading
/// `message` or `warning at the start`.
pub(crate) fn explained_messages(document: &str) -> Vec<String> {
    let (mut messages, mut is_of_messages, mut in_table) = (Vec::new(), false, false);
    for line in document.lines() {
        let Some(row) = line.strip_prefix("| ") else {
            in_table = line.starts_with('|');
            continue;
        };
        let cell = row.split(" | ").next().unwrap_or_default();
        if !in_table {
            (in_table, is_of_messages) = (true, matches!(cell, "message" | "warning at the start"));
        } else if is_of_messages {
            messages.extend(cell.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    messages
}

/// Has this message a part that is in the code? Parts lie between `…`, numbers, colons and semicolons, which the code may
/// fill in.
pub(crate) fn is_logged(message: &str, code: &str) -> bool {
    const PART_MIN: usize = 10;
    let parts = message.split(|c: char| c.is_ascii_digit() || matches!(c, '…' | ':' | ';')).map(str::trim);
    let mut parts = parts.filter(|part| part.len() >= PART_MIN).peekable();
    parts.peek().is_none() || parts.any(|part| code.contains(part))
}
