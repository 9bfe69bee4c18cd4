//! Checks that a text is JSON. serde_json does it without building anything; afterwards simple rules can read the text.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::domain::exact_json;

/// Checks all of a text: its syntax, its encoding, its depth (at most 127 levels), and its numbers.
///
/// # Errors
/// The first fault, with its line and column.
pub(super) fn check(text: &[u8]) -> Result<(), serde_json::Error> {
    let mut document = serde_json::Deserializer::from_slice(text);
    Check.deserialize(&mut document)?;
    document.end()
}

/// The number of values and of members' names in a text of checked syntax.
pub(super) fn count(text: &[u8]) -> usize {
    let (mut at, mut count) = (0, 0);
    while let Some(byte) = text.get(at) {
        at = match byte {
            b' ' | b'\n' | b'\r' | b'\t' | b',' | b':' | b']' | b'}' => at + 1,
            _ => {
                count += 1;
                match byte {
                    b'[' | b'{' => at + 1,
                    b'"' => end_of_string(text, at) + 1,
                    _ => end_of_word(text, at),
                }
            }
        };
    }
    count
}

/// The offset of the closing quotation mark of the string that begins at `start`.
pub(super) fn end_of_string(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => break,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

/// The offset after a number, `true`, `false` or `null` that begins at `start`.
pub(super) fn end_of_word(text: &[u8], start: usize) -> usize {
    let is_end = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b',' | b']' | b'}');
    text[start..].iter().position(is_end).map_or(text.len(), |length| start + length)
}

/// Reads everything and keeps nothing.
#[derive(Clone, Copy)]
struct Check;

impl<'de> DeserializeSeed<'de> for Check {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    /// serde_json hands over a number that 64 bits don't hold as an object with a special name.
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(is_number) = members.next_key_seed(Name)? {
            if is_number {
                let digits: String = members.next_value()?;
                let in_range = exact_json::is_in_range(&digits);
                return if in_range { Ok(()) } else { Err(A::Error::custom("number out of range")) };
            }
            members.next_value_seed(self)?;
        }
        Ok(())
    }
}

/// The name of a member. True: the object stands for a number (`domain::exact_json`).
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        Check.deserialize(deserializer).map(|()| false)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(true)
    }
}
