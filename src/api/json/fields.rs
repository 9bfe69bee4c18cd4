//! Reads one object of a request: known members are taken one by one, and members that are left over are unknown.

use std::iter::Enumerate;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::ValidationErrors;
use super::aliases::field_meant;
use super::digest;
use super::tape::{Element, Items};
use crate::domain::{
    BadWholeNumber, ErrorLocation, InputCode, RequestDigest, ValidationError, nearest, parse_whole_number,
    shown_name,
};

/// A member for which leaving it out and `null` mean different things.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Given<T> {
    /// Left out, or faulty: the stored value stays.
    Absent,
    /// `null`: the stored value is cleared.
    Null,
    /// A new value.
    Value(T),
}

/// An object that is being read. `null` counts as absent, except for the `given` readers. A member of another type than
/// asked for becomes a fault and reads as absent.
#[derive(Debug)]
#[must_use = "finish() reports the members that were not asked for"]
pub struct Fields<'a> {
    at: String,
    object: Element<'a>,
    known: Vec<&'static str>,
    faults: &'a ValidationErrors,
}

impl<'a> Fields<'a> {
    /// Reads `value`, which stands at the pointer `at`, as an object.
    pub fn of(value: Element<'a>, at: &str, faults: &'a ValidationErrors) -> Option<Self> {
        if value.as_object().is_none() {
            faults.push(wrong_type(at, "object"));
            return None;
        }
        Some(Self { at: at.to_owned(), object: value, known: Vec::new(), faults })
    }

    /// The pointer of this object.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// The pointer of a member.
    pub fn pointer(&self, name: &str) -> String {
        ErrorLocation::member(&self.at, name)
    }

    /// The list that faults are added to.
    pub fn faults(&self) -> &'a ValidationErrors {
        self.faults
    }

    /// Adds a fault of a member.
    pub fn fault(&self, name: &str, code: InputCode, detail: impl Into<String>) {
        self.faults.push(ValidationError::at(self.pointer(name), code, detail));
    }

    /// A member of any type; `null` differs from absent.
    pub fn given(&mut self, name: &'static str) -> Given<Element<'a>> {
        self.known.push(name);
        match self.object.get(name) {
            None => Given::Absent,
            Some(value) if value.is_null() => Given::Null,
            Some(value) => Given::Value(value),
        }
    }

    /// A member of any type.
    pub fn value(&mut self, name: &'static str) -> Option<Element<'a>> {
        match self.given(name) {
            Given::Value(value) => Some(value),
            Given::Absent | Given::Null => None,
        }
    }

    /// Reports a required member that is absent or `null`.
    pub fn require(&mut self, name: &'static str) {
        if self.value(name).is_none() {
            self.fault(name, InputCode::MissingField, format!("missing field {name:?}"));
        }
    }

    /// A member that is a string.
    pub fn string(&mut self, name: &'static str) -> Option<&'a str> {
        self.typed(name, "string", Element::as_str)
    }

    /// A string; `null` differs from absent.
    pub fn given_string(&mut self, name: &'static str) -> Given<&'a str> {
        match self.given(name) {
            Given::Absent => Given::Absent,
            Given::Null => Given::Null,
            Given::Value(value) => {
                self.expect(name, value, "string", Element::as_str).map_or(Given::Absent, Given::Value)
            }
        }
    }

    /// A member that is `true` or `false`.
    pub fn boolean(&mut self, name: &'static str) -> Option<bool> {
        self.typed(name, "boolean", Element::as_bool)
    }

    /// A whole number within a range. `7.0` is one.
    pub fn integer(&mut self, name: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let number = self.value(name)?.as_number().map(parse_whole_number);
        let Some(Ok(_) | Err(BadWholeNumber::OutOfRange)) = number else {
            self.wrong_type(name, "integer");
            return None;
        };
        let number = number.and_then(|number| u64::try_from(number.ok()?).ok());
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let detail = format!("this must be a whole number from {} to {}", range.start(), range.end());
            let fault = ValidationError::at(self.pointer(name), InputCode::OutOfRange, detail);
            self.faults.push(fault.with("minimum", *range.start()).with("maximum", *range.end()));
        }
        number
    }

    /// A number within a range, with or without a fraction.
    pub fn number(&mut self, name: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        let number: f64 = self.typed(name, "number", Element::as_number)?.parse().ok()?;
        if !range.contains(&number) {
            let detail = format!("this must be a number from {} to {}", range.start(), range.end());
            let fault = ValidationError::at(self.pointer(name), InputCode::OutOfRange, detail);
            self.faults.push(fault.with("minimum", *range.start()).with("maximum", *range.end()));
            return None;
        }
        Some(number)
    }

    /// An object with members that are the sender's own.
    pub fn object(&mut self, name: &'static str) -> Option<Element<'a>> {
        self.typed(name, "object", |value| value.as_object().map(|_| value))
    }

    /// An object as a tree. A tree takes many times the bytes of its text, so this is for bodies of a checked size.
    pub fn map(&mut self, name: &'static str) -> Option<Map<String, Value>> {
        self.object(name).map(Element::to_map)
    }

    /// An object to be read member by member.
    pub fn fields(&mut self, name: &'static str) -> Option<Self> {
        let value = self.value(name)?;
        Self::of(value, &self.pointer(name), self.faults)
    }

    /// An array of strings, each with its pointer for faults of meaning. An item of another type is reported and left
    /// out, whether or not the reader comes to it.
    pub fn strings(&mut self, name: &'static str) -> Option<Strings<'a>> {
        let items = self.array(name)?;
        Some(Strings { parent: self.pointer(name), items: items.enumerate(), faults: self.faults })
    }

    /// An array of strings; `null` differs from absent.
    pub fn given_strings(&mut self, name: &'static str) -> Given<Strings<'a>> {
        match self.given(name) {
            Given::Absent => Given::Absent,
            Given::Null => Given::Null,
            Given::Value(_) => self.strings(name).map_or(Given::Absent, Given::Value),
        }
    }

    /// An array of objects to be read member by member. An item of another type is reported and left out when the
    /// reader comes to it.
    pub fn objects(&mut self, name: &'static str) -> Option<Objects<'a>> {
        let items = self.array(name)?;
        Some(Objects { parent: self.pointer(name), items: items.enumerate(), faults: self.faults })
    }

    /// The number of items of an array; 0 for a member that is none.
    pub fn length(&self, name: &str) -> usize {
        self.object.get(name).and_then(Element::as_array).map_or(0, Iterator::count)
    }

    /// As [`Self::length`], for a member of the object `outer`.
    pub fn length_within(&self, outer: &str, name: &str) -> usize {
        let inner = self.object.get(outer).and_then(|outer| outer.get(name));
        inner.and_then(Element::as_array).map_or(0, Iterator::count)
    }

    /// Bytes of a member as JSON without spaces, 0 if it is absent. Counting ends past `max`.
    pub fn written_bytes(&self, name: &str, max: usize) -> usize {
        self.object.get(name).map_or(0, |value| value.written_bytes(max))
    }

    /// Adds the fault of a member that has another JSON type than `expected`.
    pub fn wrong_type(&self, name: &str, expected: &'static str) {
        self.faults.push(wrong_type(&self.pointer(name), expected));
    }

    /// The digest of this object without its member `except`.
    pub fn digest(&self, except: &str) -> RequestDigest {
        digest::of_object(self.object, except)
    }

    /// Was an unknown member probably meant to be one of `names`? To be called when every known member was taken.
    pub fn misspells_one_of(&self, names: &[&str]) -> bool {
        let mut members = self.object.as_object().into_iter().flatten().map(|(name, _)| name);
        members.any(|name| {
            let suggestion = self.suggestion(name).filter(|_| !self.known.contains(&name));
            suggestion.is_some_and(|suggestion| names.contains(&suggestion))
        })
    }

    /// The known name that an unknown one was probably meant to be.
    fn suggestion(&self, name: &str) -> Option<&'static str> {
        field_meant(name, &self.known).or_else(|| nearest(name, self.known.iter().copied()))
    }

    /// Ends the reading early, without reporting unknown members.
    pub fn into_unread(self) {}

    /// Reports every member that was not asked for, with the known name that was probably meant.
    pub fn finish(self) {
        #[cfg(test)]
        super::asked::note(&self.at, &self.known);
        let members = self.object.as_object().into_iter().flatten().map(|(name, _)| name);
        for name in members.filter(|name| !self.known.contains(name)) {
            if self.faults.is_full() {
                return;
            }
            let at = ErrorLocation::Pointer(self.pointer(name));
            let suggestion = self.suggestion(name);
            self.faults.push(unknown_name(at, InputCode::UnknownField, "field", name, suggestion));
        }
    }

    fn array(&mut self, name: &'static str) -> Option<Items<'a>> {
        self.typed(name, "array", Element::as_array)
    }

    fn typed<T>(
        &mut self,
        name: &'static str,
        expected: &'static str,
        read: fn(Element<'a>) -> Option<T>,
    ) -> Option<T> {
        let value = self.value(name)?;
        self.expect(name, value, expected, read)
    }

    fn expect<T>(
        &self,
        name: &'static str,
        value: Element<'a>,
        expected: &'static str,
        read: fn(Element<'a>) -> Option<T>,
    ) -> Option<T> {
        let found = read(value);
        if found.is_none() {
            self.wrong_type(name, expected);
        }
        found
    }
}

/// The strings of an array, read one by one.
#[derive(Debug)]
pub struct Strings<'a> {
    parent: String,
    items: Enumerate<Items<'a>>,
    faults: &'a ValidationErrors,
}

impl<'a> Iterator for Strings<'a> {
    /// The pointer of the string, and the string.
    type Item = (String, &'a str);

    fn next(&mut self) -> Option<(String, &'a str)> {
        loop {
            let (index, item) = self.items.next()?;
            match item.as_str() {
                Some(text) => return Some((ErrorLocation::member(&self.parent, index), text)),
                None if self.faults.is_full() => {}
                None => self.faults.push(wrong_type(&ErrorLocation::member(&self.parent, index), "string")),
            }
        }
    }
}

impl Drop for Strings<'_> {
    /// Reports the faulty items that a reader did not come to.
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

/// The objects of an array, read one by one.
#[derive(Debug)]
pub struct Objects<'a> {
    parent: String,
    items: Enumerate<Items<'a>>,
    faults: &'a ValidationErrors,
}

impl<'a> Iterator for Objects<'a> {
    type Item = Fields<'a>;

    fn next(&mut self) -> Option<Fields<'a>> {
        loop {
            let (index, item) = self.items.next()?;
            if let Some(fields) = Fields::of(item, &ErrorLocation::member(&self.parent, index), self.faults) {
                return Some(fields);
            }
        }
    }
}

/// The fault of an unknown field or parameter, with the known name that was probably meant.
pub fn unknown_name(
    place: ErrorLocation,
    code: InputCode,
    what: &str,
    name: &str,
    suggestion: Option<&str>,
) -> ValidationError {
    let unknown = format!("unknown {what} {:?}", shown_name(name));
    let detail = match suggestion {
        Some(suggestion) => format!("{unknown}; did you mean {suggestion:?}?"),
        None => unknown,
    };
    let fault = ValidationError { place, code, detail, facts: Map::new() };
    suggestion.into_iter().fold(fault, |fault, suggestion| fault.with("suggestion", suggestion))
}

/// The fault of a text that is none of `names`, with the one that was probably meant.
pub fn unknown_choice(at: impl Into<String>, given: &str, names: &[&'static str]) -> ValidationError {
    let detail = format!("this must be one of {}", names.join(", "));
    let fault = ValidationError::at(at, InputCode::BadValue, detail).with("supported", names);
    let suggestion = nearest(given, names.iter().copied());
    suggestion.into_iter().fold(fault, |fault, suggestion| fault.with("suggestion", suggestion))
}

/// The fault of a value that has another JSON type than `expected`.
pub fn wrong_type(at: &str, expected: &'static str) -> ValidationError {
    let article = if expected.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    ValidationError::at(at, InputCode::WrongType, format!("this must be {article} {expected}"))
        .with("expected", expected)
}
