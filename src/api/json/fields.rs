//! One object of a request: its known members are taken one by one, and what is left over is unknown.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::Faults;
use crate::api::nearest::nearest;
use crate::domain::{InputCode, InputFault, Place};

/// A member where leaving it out and `null` mean different things.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Given<T> {
    /// Left out (or faulty): stays as it is.
    Absent,
    /// `null`: is cleared.
    Null,
    /// Set.
    Value(T),
}

/// An object being read. `null` counts as absent, except for the `given` readers. A member of another type than asked
/// for becomes a fault and reads as absent.
#[derive(Debug)]
#[must_use = "finish() reports the members that nobody asked for"]
pub struct Fields<'a> {
    at: String,
    members: &'a Map<String, Value>,
    known: Vec<&'static str>,
    faults: &'a Faults,
}

impl<'a> Fields<'a> {
    /// Reads `value`, which stands at the pointer `at`, as an object.
    pub fn of(value: &'a Value, at: &str, faults: &'a Faults) -> Option<Self> {
        let Value::Object(members) = value else {
            faults.push(wrong_type(at, "object"));
            return None;
        };
        Some(Self { at: at.to_owned(), members, known: Vec::new(), faults })
    }

    /// The pointer of this object.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// The pointer of a member.
    pub fn pointer(&self, name: &str) -> String {
        Place::member(&self.at, name)
    }

    /// Where faults go.
    pub fn faults(&self) -> &'a Faults {
        self.faults
    }

    /// Adds a fault of a member.
    pub fn fault(&self, name: &str, code: InputCode, detail: impl Into<String>) {
        self.faults.push(InputFault::at(self.pointer(name), code, detail));
    }

    /// A member of any type; `null` tells itself from absent.
    pub fn given(&mut self, name: &'static str) -> Given<&'a Value> {
        self.known.push(name);
        match self.members.get(name) {
            None => Given::Absent,
            Some(Value::Null) => Given::Null,
            Some(value) => Given::Value(value),
        }
    }

    /// A member of any type.
    pub fn value(&mut self, name: &'static str) -> Option<&'a Value> {
        match self.given(name) {
            Given::Value(value) => Some(value),
            Given::Absent | Given::Null => None,
        }
    }

    /// Reports a member that must be there and is not (or is `null`).
    pub fn require(&mut self, name: &'static str) {
        if self.value(name).is_none() {
            self.fault(name, InputCode::MissingField, "this member must be there");
        }
    }

    /// A string.
    pub fn string(&mut self, name: &'static str) -> Option<&'a str> {
        self.typed(name, "string", Value::as_str)
    }

    /// A string; `null` tells itself from absent.
    pub fn given_string(&mut self, name: &'static str) -> Given<&'a str> {
        match self.given(name) {
            Given::Absent => Given::Absent,
            Given::Null => Given::Null,
            Given::Value(value) => {
                self.expect(name, value, "string", Value::as_str).map_or(Given::Absent, Given::Value)
            }
        }
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, name: &'static str) -> Option<bool> {
        self.typed(name, "boolean", Value::as_bool)
    }

    /// A whole number within a range.
    pub fn integer(&mut self, name: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.value(name)?;
        if value.is_f64() && value.as_f64().is_some_and(|number| number.fract() != 0.0) || !value.is_number()
        {
            self.wrong_type(name, "integer");
            return None;
        }
        let number = value.as_u64().filter(|number| range.contains(number));
        if number.is_none() {
            let detail = format!("this must be a whole number from {} to {}", range.start(), range.end());
            let fault = InputFault::at(self.pointer(name), InputCode::OutOfRange, detail);
            self.faults.push(fault.with("minimum", *range.start()).with("maximum", *range.end()));
        }
        number
    }

    /// An object as it is.
    pub fn object(&mut self, name: &'static str) -> Option<&'a Map<String, Value>> {
        self.typed(name, "object", Value::as_object)
    }

    /// An object to be read member by member.
    pub fn fields(&mut self, name: &'static str) -> Option<Self> {
        let value = self.value(name)?;
        Self::of(value, &self.pointer(name), self.faults)
    }

    /// An array as it is.
    pub fn array(&mut self, name: &'static str) -> Option<&'a [Value]> {
        self.typed(name, "array", Value::as_array).map(Vec::as_slice)
    }

    /// An array of strings, each with its pointer for faults of meaning.
    pub fn strings(&mut self, name: &'static str) -> Option<Vec<(String, &'a str)>> {
        let items = self.array(name)?;
        let parent = self.pointer(name);
        let strings = items.iter().enumerate().filter_map(|(index, item)| {
            let at = Place::member(&parent, index);
            match item.as_str() {
                Some(text) => Some((at, text)),
                None => {
                    self.faults.push(wrong_type(&at, "string"));
                    None
                }
            }
        });
        Some(strings.collect())
    }

    /// An array of strings; `null` tells itself from absent.
    pub fn given_strings(&mut self, name: &'static str) -> Given<Vec<(String, &'a str)>> {
        match self.given(name) {
            Given::Absent => Given::Absent,
            Given::Null => Given::Null,
            Given::Value(_) => self.strings(name).map_or(Given::Absent, Given::Value),
        }
    }

    /// An array of objects to be read member by member.
    pub fn objects(&mut self, name: &'static str) -> Option<Vec<Self>> {
        let items = self.array(name)?;
        let parent = self.pointer(name);
        let objects = items.iter().enumerate();
        Some(
            objects.filter_map(|(i, item)| Self::of(item, &Place::member(&parent, i), self.faults)).collect(),
        )
    }

    /// How many items an array has; 0 for anything else.
    pub fn length(&self, name: &str) -> usize {
        self.members.get(name).and_then(Value::as_array).map_or(0, Vec::len)
    }

    /// Adds the fault of a member that has another JSON type than `expected`.
    pub fn wrong_type(&self, name: &str, expected: &'static str) {
        self.faults.push(wrong_type(&self.pointer(name), expected));
    }

    /// Ends the reading before everything was asked for.
    pub fn into_unread(self) {}

    /// Reports every member that nobody asked for, with the known name that it was probably meant to be.
    pub fn finish(self) {
        for name in self.members.keys().filter(|name| !self.known.contains(&name.as_str())) {
            if self.faults.is_full() {
                return;
            }
            let at = Place::member(&self.at, name);
            let fault = InputFault::at(at, InputCode::UnknownField, "there is no member of this name here");
            self.faults.push(match nearest(name, &self.known) {
                Some(suggestion) => fault.with("suggestion", suggestion),
                None => fault,
            });
        }
    }

    fn typed<T>(
        &mut self,
        name: &'static str,
        expected: &'static str,
        read: fn(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.value(name)?;
        self.expect(name, value, expected, read)
    }

    fn expect<T>(
        &self,
        name: &'static str,
        value: &'a Value,
        expected: &'static str,
        read: fn(&'a Value) -> Option<T>,
    ) -> Option<T> {
        let found = read(value);
        if found.is_none() {
            self.wrong_type(name, expected);
        }
        found
    }
}

/// A value of another JSON type than `expected`.
pub fn wrong_type(at: &str, expected: &'static str) -> InputFault {
    let article = if expected.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    InputFault::at(at, InputCode::WrongType, format!("this must be {article} {expected}"))
        .with("expected", expected)
}
