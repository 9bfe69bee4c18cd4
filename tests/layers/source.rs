//! One source file, read: the paths it names, its functions, and which lines are tests.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use crate::lexer::{Token, pieces};

/// A file of the crate.
pub(crate) struct Source {
    /// From the repository's root: `src/api/mod.rs`.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) tokens: Vec<Token>,
    pub(crate) comments: Vec<(usize, String)>,
    /// Every path that starts at `crate`, `super` or another crate, made absolute.
    pub(crate) paths: Vec<Path>,
    pub(crate) functions: Vec<Function>,
    /// Lines of inline `mod tests`.
    pub(crate) test_lines: Vec<RangeInclusive<usize>>,
}

/// A path as it stands in code: `crate::domain::Lane` is `["crate", "domain", "Lane"]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Path {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
    /// A macro's call.
    pub(crate) is_macro: bool,
    /// One side of a comparison.
    pub(crate) compared: bool,
}

/// A function with its lines.
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) lines: RangeInclusive<usize>,
}

impl Source {
    pub(crate) fn read(path: &str, text: &str) -> Self {
        let pieces = pieces(text);
        let mut walk = Walk { tokens: &pieces.tokens, module: module_of(path), ..Walk::default() };
        walk.run();
        let (paths, functions, test_lines) = (walk.paths, walk.functions, walk.test_lines);
        let (tokens, comments) = (pieces.tokens, pieces.comments);
        Self { path: path.to_owned(), text: text.to_owned(), tokens, comments, paths, functions, test_lines }
    }

    /// Is this line part of a test?
    pub(crate) fn is_test(&self, line: usize) -> bool {
        let file = self.path.starts_with("tests/")
            || self.path.starts_with("crates/testkit/")
            || self.path.contains("/tests/")
            || self.path.ends_with("/tests.rs");
        file || self.test_lines.iter().any(|lines| lines.contains(&line))
    }

    /// Is this a file of the service or of a crate that the service is built with?
    pub(crate) fn is_product(&self) -> bool {
        self.path.starts_with("src/") || self.path.starts_with("crates/")
    }

    /// The file's top module, as the layer table names it.
    pub(crate) fn module(&self) -> String {
        module_name(&module_of(&self.path))
    }
}

/// The table's name of the module at an absolute path.
pub(crate) fn module_name(path: &[String]) -> String {
    match path {
        [] => "lib".to_owned(),
        [first, second, ..] if first == "provider" && folders_of_provider().contains(second.as_str()) => {
            format!("{first}::{second}")
        }
        [first, ..] => first.clone(),
    }
}

/// A folder of `src/provider` with what providers share.
const SHARED: &str = "apple";

/// The other folders of `src/provider`: one per provider, and `transport`.
fn folders_of_provider() -> &'static BTreeSet<String> {
    static FOLDERS: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/provider");
        let entries = std::fs::read_dir(folder).expect("the folder is there");
        let entries = entries.map(|entry| entry.expect("it can be listed").path());
        let folders = entries.filter(|path| path.is_dir());
        let names = folders.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
        names.filter(|name| name != SHARED).collect()
    });
    &FOLDERS
}

fn module_of(path: &str) -> Vec<String> {
    let inner = path.strip_prefix("src/").unwrap_or_default();
    let inner = inner.trim_end_matches(".rs").trim_end_matches("/mod");
    inner.split('/').filter(|part| !part.is_empty() && *part != "lib").map(str::to_owned).collect()
}

#[derive(Default)]
struct Walk<'a> {
    tokens: &'a [Token],
    module: Vec<String>,
    /// Inline modules that are open: name, depth of their brace, line.
    inline: Vec<(String, usize, usize)>,
    /// Functions that are open: name, depth of their brace, line.
    open: Vec<(String, usize, usize)>,
    depth: usize,
    paths: Vec<Path>,
    functions: Vec<Function>,
    test_lines: Vec<RangeInclusive<usize>>,
}

impl Walk<'_> {
    fn run(&mut self) {
        let mut at = 0;
        while at < self.tokens.len() {
            match self.text(at) {
                "{" => self.depth += 1,
                "}" => self.close(self.tokens[at].line),
                "mod" if self.text(at + 2) == "{" => {
                    self.inline.push((self.text(at + 1).to_owned(), self.depth, self.tokens[at].line));
                }
                "fn" if is_name(self.text(at + 1)) => self.open_function(at),
                _ if self.begins_path(at) => {
                    at = self.path(at);
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
    }

    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| &token.text)
    }

    fn begins_path(&self, at: usize) -> bool {
        let inside = at > 0 && self.text(at - 1) == "::";
        !inside && is_name(self.text(at)) && self.text(at + 1) == "::"
    }

    fn close(&mut self, line: usize) {
        self.depth = self.depth.saturating_sub(1);
        while let Some((name, _, from)) = self.open.pop_if(|(_, depth, _)| *depth == self.depth) {
            self.functions.push(Function { name, lines: from..=line });
        }
        while let Some((name, _, from)) = self.inline.pop_if(|(_, depth, _)| *depth == self.depth) {
            if name == "tests" {
                self.test_lines.push(from..=line);
            }
        }
    }

    /// A function with a body, which begins at the first brace outside of parentheses.
    fn open_function(&mut self, at: usize) {
        let mut nested = 0;
        for token in &self.tokens[at..] {
            match token.text.as_str() {
                "(" | "[" => nested += 1,
                ")" | "]" => nested -= 1,
                ";" if nested == 0 => return,
                "{" if nested == 0 => {
                    let name = self.text(at + 1).to_owned();
                    self.open.push((name, self.depth, self.tokens[at].line));
                    return;
                }
                _ => {}
            }
        }
    }

    /// Reads the path at `at`, with the groups of a `use`; says where to go on.
    fn path(&mut self, at: usize) -> usize {
        let mut here = at;
        let mut base = match self.text(at) {
            "self" => return at + 1,
            "super" => {
                let mut module = self.module.clone();
                module.extend(self.inline.iter().map(|(name, ..)| name.clone()));
                while self.text(here) == "super" && self.text(here + 1) == "::" {
                    module.pop();
                    here += 2;
                }
                module.insert(0, "crate".to_owned());
                module
            }
            _ => Vec::new(),
        };
        let compared = at >= 2 && self.text(at - 1) == "=" && matches!(self.text(at - 2), "=" | "!");
        self.tree(here, &mut base, compared)
    }

    fn tree(&mut self, at: usize, prefix: &mut Vec<String>, compared: bool) -> usize {
        let (mut here, length, line) = (at, prefix.len(), self.tokens.get(at).map_or(0, |token| token.line));
        loop {
            match self.text(here) {
                "{" => {
                    here += 1;
                    while !matches!(self.text(here), "}" | "") {
                        here = self.tree(here, prefix, compared);
                        here += usize::from(self.text(here) == ",");
                    }
                    prefix.truncate(length);
                    return here + 1;
                }
                name if is_name(name) || name == "*" => {
                    prefix.push(name.to_owned());
                    here += 1;
                }
                // A turbofish, or something that only macros have: the path so far is what counts.
                _ => break,
            }
            if self.text(here) == "::"
                && (self.text(here + 1) == "{" || is_name(self.text(here + 1)) || self.text(here + 1) == "*")
            {
                here += 1;
                continue;
            }
            break;
        }
        let is_macro = self.text(here) == "!" && self.text(here + 1) != "=";
        self.paths.push(Path { segments: prefix.clone(), line, is_macro, compared });
        if self.text(here) == "as" && is_name(self.text(here + 1)) {
            here += 2;
        }
        prefix.truncate(length);
        here.max(at + 1)
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}
