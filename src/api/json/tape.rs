//! A JSON document as a tape: eight bytes for each value and each member's name, in the order of the text.
//!
//! A tree of [`Value`] takes up to sixty times the bytes of its text, which a client chooses. The tape and the text take
//! at most five times: each value has at least two bytes of text (`1,`). Text is decoded in place, because decoded text
//! is never longer than its escaped form.

use serde_json::{Map, Number, Value};

/// Marks a member with a name that an earlier member has. It is reported when the tape is written, and never read.
const REPEATED: u32 = 1 << 31;

/// A JSON document. [`super::parse()`] makes it.
#[derive(Debug)]
pub struct Tape {
    text: String,
    entries: Vec<TapeEntry>,
}

/// One value, or the name of a member, which the member's value follows.
#[derive(Clone, Copy, Debug)]
pub(super) struct TapeEntry {
    /// Offset of the first byte, which tells the type, and [`REPEATED`].
    start: u32,
    /// Of a container: the number of the entry that follows all of its contents. Of anything else: offset of the end.
    end: u32,
}

/// What a value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Type {
    Null,
    Boolean,
    Number,
    Text,
    Array,
    Object,
}

impl TapeEntry {
    /// A value or a name that is not a container, from its first byte (a quotation mark of text) to its end.
    pub(super) fn scalar(start: usize, end: usize) -> Self {
        Self { start: offset(start), end: offset(end) }
    }

    /// An array or object with an end that is not known yet.
    pub(super) fn container(start: usize) -> Self {
        Self { start: offset(start), end: 0 }
    }

    /// Sets the number of the entry that follows a container.
    pub(super) fn close(&mut self, next: usize) {
        self.end = offset(next);
    }

    /// Marks the name of a member as given before.
    pub(super) fn mark_repeated(&mut self) {
        self.start |= REPEATED;
    }

    pub(super) fn is_repeated(self) -> bool {
        self.start & REPEATED != 0
    }

    /// The decoded bytes of a name, for the time before the text is whole.
    pub(super) fn name(self, text: &[u8]) -> &[u8] {
        &text[self.first() + 1..self.end as usize]
    }

    fn first(self) -> usize {
        (self.start & !REPEATED) as usize
    }
}

/// `limits.body_bytes` is at most 1 GiB, and a tape has no more entries than its text has bytes.
fn offset(at: usize) -> u32 {
    u32::try_from(at).ok().filter(|at| *at < REPEATED).expect("a body is smaller than 2 GiB")
}

/// The number of the entry after the value at `at`, with all that it contains.
pub(super) fn next(entries: &[TapeEntry], text: &[u8], at: usize) -> usize {
    let entry = entries[at];
    match text[entry.first()] {
        b'[' | b'{' => entry.end as usize,
        _ => at + 1,
    }
}

impl Tape {
    /// `text` with its texts decoded in place.
    pub(super) fn new(text: String, entries: Vec<TapeEntry>) -> Self {
        Self { text, entries }
    }

    /// Bytes that the tape takes, its text included.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.text.capacity() + self.entries.capacity() * size_of::<TapeEntry>()
    }

    /// The whole document.
    pub fn root(&self) -> Element<'_> {
        Element { tape: self, at: 0 }
    }
}

/// A value in a document. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    tape: &'a Tape,
    at: usize,
}

impl<'a> Element<'a> {
    fn entry(self) -> TapeEntry {
        self.tape.entries[self.at]
    }

    fn kind(self) -> Type {
        match self.tape.text.as_bytes()[self.entry().first()] {
            b'n' => Type::Null,
            b't' | b'f' => Type::Boolean,
            b'"' => Type::Text,
            b'[' => Type::Array,
            b'{' => Type::Object,
            _ => Type::Number,
        }
    }

    /// Is it `null`?
    pub fn is_null(self) -> bool {
        self.kind() == Type::Null
    }

    /// The decoded text of a string.
    pub fn as_str(self) -> Option<&'a str> {
        let entry = self.entry();
        (self.kind() == Type::Text).then(|| &self.tape.text[entry.first() + 1..entry.end as usize])
    }

    /// The value of `true` or `false`.
    pub fn as_bool(self) -> Option<bool> {
        (self.kind() == Type::Boolean).then(|| self.tape.text.as_bytes()[self.entry().first()] == b't')
    }

    /// A number as it is written.
    pub fn as_number(self) -> Option<&'a str> {
        let entry = self.entry();
        (self.kind() == Type::Number).then(|| &self.tape.text[entry.first()..entry.end as usize])
    }

    /// The items of an array.
    pub fn as_array(self) -> Option<Items<'a>> {
        (self.kind() == Type::Array).then(|| self.contents())
    }

    /// The members of an object, each name once: the first counts.
    pub fn as_object(self) -> Option<Members<'a>> {
        (self.kind() == Type::Object).then(|| Members(self.contents()))
    }

    /// The member of an object.
    pub fn get(self, name: &str) -> Option<Self> {
        self.as_object()?.find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// Bytes of the value as JSON without spaces; counting ends past `max`. An escape counts as the character that it
    /// stands for.
    pub fn written_bytes(self, max: usize) -> usize {
        let mut bytes: usize = 0;
        for at in self.at..next(&self.tape.entries, self.tape.text.as_bytes(), self.at) {
            let element = Self { at, ..self };
            let entry = element.entry();
            // Each value is followed by a comma, a colon, or the end of its container.
            bytes += 1 + match element.kind() {
                Type::Array | Type::Object => 2 - usize::from(entry.end as usize > at + 1),
                Type::Text => entry.end as usize - entry.first() + 1,
                Type::Null | Type::Boolean | Type::Number => entry.end as usize - entry.first(),
            };
            if bytes > max {
                break;
            }
        }
        bytes - 1
    }

    /// The value as a tree. A tree takes many times the bytes of its text, so this is for values of a checked size.
    pub fn to_value(self) -> Value {
        match self.kind() {
            Type::Null => Value::Null,
            Type::Boolean => Value::Bool(self.as_bool() == Some(true)),
            Type::Number => Value::Number(self.to_number()),
            Type::Text => self.as_str().unwrap_or_default().into(),
            Type::Array => Value::Array(self.contents().map(Self::to_value).collect()),
            Type::Object => Value::Object(self.to_map()),
        }
    }

    /// As [`Self::to_value`], for the members of an object; nothing of anything else.
    pub fn to_map(self) -> Map<String, Value> {
        let members = self.as_object().into_iter().flatten();
        members.map(|(name, value)| (name.to_owned(), value.to_value())).collect()
    }

    fn to_number(self) -> Number {
        serde_json::from_str(self.as_number().unwrap_or("0")).expect("the text was checked")
    }

    fn contents(self) -> Items<'a> {
        Items { tape: self.tape, at: self.at + 1, end: self.entry().end as usize }
    }
}

/// The items of an array.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    tape: &'a Tape,
    at: usize,
    end: usize,
}

impl<'a> Iterator for Items<'a> {
    type Item = Element<'a>;

    fn next(&mut self) -> Option<Element<'a>> {
        let element = (self.at < self.end).then_some(Element { tape: self.tape, at: self.at })?;
        self.at = next(&self.tape.entries, self.tape.text.as_bytes(), self.at);
        Some(element)
    }
}

/// The members of an object.
#[derive(Clone, Debug)]
pub struct Members<'a>(Items<'a>);

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, Element<'a>);

    fn next(&mut self) -> Option<(&'a str, Element<'a>)> {
        loop {
            let name = self.0.next()?;
            let value = self.0.next()?;
            if !name.entry().is_repeated() {
                return Some((name.as_str()?, value));
            }
        }
    }
}
