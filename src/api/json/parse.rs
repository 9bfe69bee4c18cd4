//! Parses bytes to a [`Tape`]. Unlike serde_json it reports members that are given twice.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::tape::{self, Tape, TapeEntry};
use super::{ValidationErrors, syntax};
use crate::domain::{ErrorLocation, InputCode, ValidationError};

/// Objects with at most this many members are searched for repeated names pair by pair.
const FEW: usize = 8;
/// About this many names are compared in one round over a larger object.
const ROUND_MEMBERS: usize = 1 << 17;

/// Reads one JSON document. Members given twice go to `faults`, and the first is kept.
///
/// # Errors
/// The text is not JSON; the fault has `line` and `column`.
pub fn parse(text: Vec<u8>, faults: &ValidationErrors) -> Result<Tape, Box<ValidationError>> {
    syntax::check(&text).map_err(|error| Box::new(malformed(&error)))?;
    let entries = Vec::with_capacity(syntax::count(&text));
    let mut writer = Writer { text, entries, open: Vec::new(), faults };
    writer.write();
    let text = String::from_utf8(writer.text).expect("the text was checked");
    Ok(Tape::new(text, writer.entries))
}

/// serde_json's messages say what was expected and never repeat the text.
pub(super) fn malformed(error: &serde_json::Error) -> ValidationError {
    ValidationError::at("#", InputCode::MalformedJson, format!("not JSON: {error}"))
        .with("line", error.line())
        .with("column", error.column())
}

/// An array or object that has not ended yet.
struct Open {
    /// The number of its entry.
    at: usize,
    is_object: bool,
    /// Names and values so far.
    count: usize,
    /// The entry of the last name.
    name: usize,
}

/// Writes the tape of a text of checked syntax.
struct Writer<'f> {
    text: Vec<u8>,
    entries: Vec<TapeEntry>,
    open: Vec<Open>,
    faults: &'f ValidationErrors,
}

impl Writer<'_> {
    fn write(&mut self) {
        let mut at = 0;
        while let Some(byte) = self.text.get(at).copied() {
            at = match byte {
                b' ' | b'\n' | b'\r' | b'\t' | b',' | b':' => at + 1,
                b'[' | b'{' => {
                    self.push(TapeEntry::container(at));
                    let entry = self.entries.len() - 1;
                    self.open.push(Open { at: entry, is_object: byte == b'{', count: 0, name: entry });
                    at + 1
                }
                b']' | b'}' => {
                    self.close();
                    at + 1
                }
                b'"' => self.string(at),
                _ => {
                    let end = syntax::end_of_word(&self.text, at);
                    self.push(TapeEntry::scalar(at, end));
                    end
                }
            };
        }
    }

    fn push(&mut self, entry: TapeEntry) {
        if let Some(open) = self.open.last_mut() {
            open.count += 1;
            if open.is_object && open.count % 2 == 1 {
                open.name = self.entries.len();
            }
        }
        self.entries.push(entry);
    }

    /// Decodes a string where it stands and returns where it ended.
    fn string(&mut self, start: usize) -> usize {
        let close = syntax::end_of_string(&self.text, start);
        let mut end = close;
        if self.text[start..close].contains(&b'\\') {
            let decoded: String =
                serde_json::from_slice(&self.text[start..=close]).expect("the text was checked");
            end = start + 1 + decoded.len();
            self.text[start + 1..end].copy_from_slice(decoded.as_bytes());
            self.text[end..close].fill(b' ');
        }
        self.push(TapeEntry::scalar(start, end));
        close + 1
    }

    fn close(&mut self) {
        let open = self.open.pop().expect("the text was checked");
        let next = self.entries.len();
        self.entries[open.at].close(next);
        if open.is_object && self.mark_repeated(open.at + 1, open.count / 2) {
            self.report_repeated(open.at + 1);
        }
    }

    /// Marks members with a name that an earlier member of the object has. Were there any?
    fn mark_repeated(&mut self, first: usize, members: usize) -> bool {
        if members <= FEW {
            return self.mark_among_few(first);
        }
        let hash = RandomState::new();
        // A round looks at a part of the names, so that its notes stay small beside the tape.
        let rounds = members.div_ceil(ROUND_MEMBERS) as u64;
        let mut any = false;
        for round in 0..rounds {
            any |= self.mark_in_round(first, |name| {
                let hash = hash.hash_one(name);
                (hash % rounds == round).then_some((hash >> 32) as u32)
            });
        }
        any
    }

    /// Marks repeated names among those for which `hash` returns a hash.
    fn mark_in_round(&mut self, first: usize, hash: impl Fn(&[u8]) -> Option<u32>) -> bool {
        let mut seen: HashMap<u32, u32> = HashMap::new();
        // Different names with the same hash: one in billions.
        let mut colliding: Vec<usize> = Vec::new();
        let mut any = false;
        let mut at = first;
        while at < self.entries.len() {
            if let Some(hash) = hash(self.name(at)) {
                let before = *seen.entry(hash).or_insert(at as u32) as usize;
                let is_same = |before: &usize| self.name(*before) == self.name(at);
                if before < at && (is_same(&before) || colliding.iter().any(is_same)) {
                    self.entries[at].mark_repeated();
                    any = true;
                } else if before < at {
                    colliding.push(at);
                }
            }
            at = self.next_name(at);
        }
        any
    }

    fn mark_among_few(&mut self, first: usize) -> bool {
        let mut any = false;
        let mut at = first;
        while at < self.entries.len() {
            let mut before = first;
            while before < at && self.name(before) != self.name(at) {
                before = self.next_name(before);
            }
            if before < at {
                self.entries[at].mark_repeated();
                any = true;
            }
            at = self.next_name(at);
        }
        any
    }

    fn report_repeated(&self, first: usize) {
        let parent = self.pointer();
        let mut at = first;
        while at < self.entries.len() && !self.faults.is_full() {
            if self.entries[at].is_repeated() {
                let place = ErrorLocation::member(&parent, String::from_utf8_lossy(self.name(at)));
                let detail = "this member is given more than once";
                self.faults.push(ValidationError::at(place, InputCode::DuplicateField, detail));
            }
            at = self.next_name(at);
        }
    }

    fn name(&self, at: usize) -> &[u8] {
        self.entries[at].name(&self.text)
    }

    fn next_name(&self, at: usize) -> usize {
        tape::next(&self.entries, &self.text, at + 1)
    }

    /// The pointer of the container that was closed last.
    fn pointer(&self) -> String {
        self.open.iter().fold("#".to_owned(), |parent, open| match open.is_object {
            true => ErrorLocation::member(&parent, String::from_utf8_lossy(self.name(open.name))),
            false => ErrorLocation::member(&parent, open.count - 1),
        })
    }
}
