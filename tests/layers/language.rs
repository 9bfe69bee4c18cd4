//! The language of code: words that comments avoid, doc comments that say nothing, and names that mean two things.

use std::collections::BTreeMap;

use crate::source::Source;

/// Words for people. Things are called by their names.
const FOR_PEOPLE: &[&str] =
    &["who", "whose", "whom", "whoever", "nobody", "somebody", "everybody", "he", "his"];

/// Names that every module may have.
const SHARED_NAMES: &[&str] = &["Error", "Settings"];

/// What is wrong with the comments of one file: line and fault.
pub(crate) fn faults(source: &Source) -> Vec<(usize, String)> {
    let mut faults = Vec::new();
    for (line, comment) in &source.comments {
        for (offset, text) in comment.lines().enumerate() {
            let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '\''));
            let words = words.map(|word| word.split('\'').next().unwrap_or_default().to_lowercase());
            for word in words.filter(|word| FOR_PEOPLE.contains(&word.as_str())) {
                faults.push((line + offset, format!("says \"{word}\" in a comment; name the thing")));
            }
        }
    }
    for (line, text) in doc_comments(source) {
        if text.split_whitespace().count() < 3 {
            faults.push((line, format!("has a doc comment that adds nothing to the name: \"{text}\"")));
        }
    }
    faults
}

/// Words for people in a document, a migration, a script or a configuration. Code in backticks is left out, and so is the
/// first word of [`FOR_PEOPLE`], because a page names its readers with it.
pub(crate) fn document_faults(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let prose: String = text.split('`').step_by(2).collect();
        let words = prose.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '\''));
        for word in words.map(str::to_lowercase).filter(|word| word != FOR_PEOPLE[0]) {
            if FOR_PEOPLE.contains(&word.as_str()) {
                faults.push(format!("{path}:{line}: says \"{word}\"; name the thing"));
            }
        }
    }
    faults
}

/// Doc comments of items, whole, with their first lines.
fn doc_comments(source: &Source) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, usize, String)> = Vec::new();
    for (line, comment) in &source.comments {
        let Some(text) = comment.strip_prefix("//").filter(|text| !text.starts_with('/')) else { continue };
        match found.last_mut() {
            Some((_, last, whole)) if *last + 1 == *line => {
                *last = *line;
                whole.push_str(text);
            }
            _ => found.push((*line, *line, text.trim().to_owned())),
        }
    }
    found.into_iter().map(|(first, _, text)| (first, text)).collect()
}

/// Public types that share their name with another public type of the same crate.
pub(crate) fn shared_names(sources: &[Source]) -> Vec<String> {
    let mut places: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for source in sources {
        let Some(of_crate) = crate_of(&source.path) else { continue };
        let texts: Vec<&str> = source.tokens.iter().map(|token| token.text.as_str()).collect();
        for (at, token) in source.tokens.iter().enumerate() {
            if let ["pub", "struct" | "enum" | "trait" | "type" | "union", name, ..] = &texts[at..]
                && !source.is_test(token.line)
                // A name that a macro is given is checked nowhere: the macro's uses have names of their own.
                && *name != "$"
                && !SHARED_NAMES.contains(name)
            {
                let place = format!("{}:{}", source.path, token.line);
                places.entry((of_crate, name)).or_default().push(place);
            }
        }
    }
    let doubled = places.into_iter().filter(|(_, places)| places.len() > 1);
    doubled
        .map(|((_, name), places)| format!("{}: {name} is public more than once", places.join(", ")))
        .collect()
}

fn crate_of(path: &str) -> Option<&str> {
    match path.strip_prefix("crates/") {
        Some(inner) => inner.split('/').next(),
        None => path.starts_with("src/").then_some("pushpost"),
    }
}
