//! From bytes to a [`Value`], with what serde_json lets pass: a member given twice.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::Faults;
use crate::domain::{InputCode, InputFault, Place};

/// Reads one JSON document. Members given twice go to `faults`, and the first is kept.
///
/// # Errors
/// What is no JSON at all, with `line` and `column`.
pub fn parse(bytes: &[u8], faults: &Faults) -> Result<Value, Box<InputFault>> {
    let mut document = serde_json::Deserializer::from_slice(bytes);
    let node = Node { at: &Way::Root, faults };
    node.deserialize(&mut document)
        .and_then(|value| document.end().map(|()| value))
        .map_err(|error| Box::new(malformed(&error)))
}

/// serde_json's own words for a fault of syntax say what was expected and never repeat what was there.
fn malformed(error: &serde_json::Error) -> InputFault {
    InputFault::at("#", InputCode::MalformedJson, format!("not JSON: {error}"))
        .with("line", error.line())
        .with("column", error.column())
}

/// The way from the root to a node, rendered only for a fault.
enum Way<'p> {
    Root,
    Member(&'p Way<'p>, &'p str),
    Item(&'p Way<'p>, usize),
}

impl Way<'_> {
    fn pointer(&self) -> String {
        match self {
            Self::Root => "#".to_owned(),
            Self::Member(parent, name) => Place::member(&parent.pointer(), name),
            Self::Item(parent, index) => Place::member(&parent.pointer(), index),
        }
    }
}

#[derive(Clone, Copy)]
struct Node<'p> {
    at: &'p Way<'p>,
    faults: &'p Faults,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(item) =
            items.next_element_seed(Node { at: &Way::Item(self.at, out.len()), faults: self.faults })?
        {
            out.push(item);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let at = Way::Member(self.at, &name);
            let value = members.next_value_seed(Node { at: &at, faults: self.faults })?;
            if out.contains_key(&name) {
                if !self.faults.is_full() {
                    let detail = "this member is given more than once";
                    self.faults.push(InputFault::at(at.pointer(), InputCode::DuplicateField, detail));
                }
            } else {
                out.insert(name, value);
            }
        }
        Ok(Value::Object(out))
    }
}
