//! Splits a body that is an array into the texts of its items, so that each item is read as a body of its own.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::parse::malformed;
use super::{syntax, wrong_type};
use crate::domain::{InputCode, ValidationError};

/// Why a body has no items to be read.
#[derive(Debug)]
pub enum NoItems {
    /// It is not JSON, or not an array, or an empty one.
    Fault(Box<ValidationError>),
    /// It has more items than this limit.
    TooMany(usize),
}

/// The texts of the items of an array, in order: at least one, at most `max`. They are JSON, and may still have faults that
/// only their reader finds, such as half of a surrogate pair.
///
/// # Errors
/// See [`NoItems`].
pub fn items(body: &[u8], max: usize) -> Result<Vec<Box<RawValue>>, NoItems> {
    let fault = |fault| NoItems::Fault(Box::new(fault));
    let mut document = serde_json::Deserializer::from_slice(body);
    let read = Items { max }.deserialize(&mut document);
    let items = read.and_then(|items| document.end().map(|()| items)).map_err(|error| {
        // Another type is found at its beginning, before the text is checked.
        let syntax = if error.is_data() { syntax::check(body).err() } else { Some(error) };
        fault(syntax.map_or_else(|| wrong_type("#", "array"), |error| malformed(&error)))
    })?;
    match items {
        Some(items) if items.is_empty() => {
            let detail = format!("this must have 1 to {max} items");
            let empty = ValidationError::at("#", InputCode::OutOfRange, detail);
            Err(fault(empty.with("minimum", 1).with("maximum", max)))
        }
        Some(items) => Ok(items),
        None => Err(NoItems::TooMany(max)),
    }
}

/// Keeps the text of each item. None: there are more than `max`.
struct Items {
    max: usize,
}

impl<'de> DeserializeSeed<'de> for Items {
    type Value = Option<Vec<Box<RawValue>>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items {
    type Value = Option<Vec<Box<RawValue>>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut given: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while items.len() < self.max {
            let Some(item) = given.next_element()? else { return Ok(Some(items)) };
            items.push(item);
        }
        // The rest is only checked.
        let mut is_more = false;
        while given.next_element::<IgnoredAny>()?.is_some() {
            is_more = true;
        }
        Ok((!is_more).then_some(items))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(body: &str, max: usize) -> Result<Vec<String>, String> {
        match items(body.as_bytes(), max) {
            Ok(items) => Ok(items.iter().map(|item| item.get().to_owned()).collect()),
            Err(NoItems::TooMany(_)) => Err("too many".to_owned()),
            Err(NoItems::Fault(fault)) => Err(fault.code.as_str().to_owned()),
        }
    }

    #[test]
    fn each_item_is_its_text() {
        let body = r#" [ {"a": "]\"[", "b":[1,2]} ,null, "x" ] "#;
        let expected = [r#"{"a": "]\"[", "b":[1,2]}"#, "null", r#""x""#];
        assert_eq!(texts(body, 3).as_deref(), Ok(&expected.map(str::to_owned)[..]));
        assert_eq!(texts(body, 2), Err("too many".to_owned()));
        let deep = format!("[{}1{}]", "[".repeat(127), "]".repeat(127));
        assert_eq!(texts(&deep, 1).map(|items| items.len()), Ok(1));
    }

    #[test]
    fn what_is_no_array_of_items_has_one_fault() {
        for (body, code) in [
            ("[]", "out_of_range"),
            ("{}", "wrong_type"),
            ("{", "malformed_json"),
            ("1", "wrong_type"),
            ("null", "wrong_type"),
            ("", "malformed_json"),
            ("[1", "malformed_json"),
            ("[1,]", "malformed_json"),
            ("[1] 2", "malformed_json"),
            ("[{\"a\":}]", "malformed_json"),
            // Too many items are no excuse.
            ("[1,2,3,4", "malformed_json"),
        ] {
            assert_eq!(texts(body, 2), Err(code.to_owned()), "{body}");
        }
        assert!(matches!(items(b"[\"\xff\"]", 1), Err(NoItems::Fault(_))));
    }
}
