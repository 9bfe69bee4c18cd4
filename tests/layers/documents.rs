//! What documents say of each other and of the code: headings that are pointed to exist, and so do linked files.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Folders whose files may point to documents.
const FOLDERS: &[&str] = &["src", "tests", "benches", "crates", "docs", "scripts"];
const FILES: &[&str] =
    &["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "config.example.toml", "Makefile"];
const EXTENSIONS: &[&str] = &["rs", "md", "sql", "toml", "py", "sh", ""];

/// All files that may point to documents, with their texts, by their paths below `root`.
pub(crate) fn texts(root: &Path) -> Vec<(String, String)> {
    let mut paths: Vec<PathBuf> = FILES.iter().map(|file| root.join(file)).collect();
    for folder in FOLDERS {
        collect(&root.join(folder), &mut paths);
    }
    paths.sort();
    let name = |path: &Path| path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
    // The cases in `tests/layers.rs` have dead pointers on purpose.
    let own = root.join("tests/layers.rs");
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

/// The anchors of a document's headings, as GitHub makes them.
fn headings(text: &str) -> HashSet<String> {
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
