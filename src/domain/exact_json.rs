//! Reading JSON exactly: numbers keep all their digits, and no member name is special. Only the spelling of an exponent
//! changes: serde_json writes `1E15` as `1e+15`. Used for stored content, bodies of requests and metadata.
//!
//! serde_json passes a number that does not fit into 64 bits as an object with one member of a reserved name. Its own
//! [`Value`] takes every object with that name for a number, so a client could not send such an object as data.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Reads an object, for `#[serde(deserialize_with)]`. From text it is exact; from a [`Value`], `-0` becomes `0`.
///
/// # Errors
/// The input is not an object.
pub fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    match deserializer.deserialize_map(Exact)? {
        Value::Object(object) => Ok(object),
        _ => Err(D::Error::custom("not an object")),
    }
}

/// Reads a text that consists of one object.
///
/// # Errors
/// The text is not one object.
pub fn read(text: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
    let mut document = serde_json::Deserializer::from_slice(text);
    let object = object(&mut document)?;
    document.end()?;
    Ok(object)
}

/// Is the number within the range of a double? Then every phone can read it, perhaps with fewer digits.
pub fn is_in_range(number: &str) -> bool {
    number.parse::<f64>().is_ok_and(f64::is_finite)
}

/// Reads one value of any type exactly.
#[derive(Clone, Copy)]
pub(super) struct Exact;

impl<'de> DeserializeSeed<'de> for Exact {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Exact {
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

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(Number::from_u128(value).map_or(Value::Null, Value::Number))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Number::from_i128(value).map_or(Value::Null, Value::Number))
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
        while let Some(item) = items.next_element_seed(self)? {
            out.push(item);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(name) = members.next_key_seed(Name)? {
            match name {
                Some(name) => out.insert(name, members.next_value_seed(self)?),
                None => {
                    let digits: String = members.next_value()?;
                    return digits.parse().map(Value::Number).map_err(A::Error::custom);
                }
            };
        }
        Ok(Value::Object(out))
    }
}

/// The name of a member; none if the object stands for a number. serde_json passes a member name to `visit_some` if it
/// is read as an option, and the reserved name to `visit_str`.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<String>, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<String>, D::Error> {
        serde::Deserialize::deserialize(deserializer).map(Some)
    }

    fn visit_str<E>(self, _: &str) -> Result<Option<String>, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text after it was read and written twice.
    fn rewritten(text: &str) -> String {
        let once = read(text.as_bytes()).expect("an object");
        let twice = read(Value::Object(once.clone()).to_string().as_bytes()).expect("an object");
        assert_eq!(once, twice);
        Value::Object(twice).to_string()
    }

    #[test]
    fn numbers_keep_their_digits() {
        for number in [
            "18446744073709551616",
            "-9223372036854775809",
            "1.10",
            "0.1",
            "1e+15",
            "1.50e-7",
            "-0",
            "-0.0",
            "3.14159265358979323846",
            "0",
        ] {
            let text = format!(r#"{{"n":{number},"in":[{{"n":{number}}}]}}"#);
            assert_eq!(rewritten(&text), text);
        }
        assert_eq!(rewritten(r#"{"n":1E15}"#), r#"{"n":1e+15}"#);
    }

    #[test]
    fn no_member_name_is_special() {
        for name in ["$serde_json::private::Number", "$serde_json::private::RawValue", ""] {
            for value in [r#""1""#, r#""x""#, "[]", "1.50"] {
                let text = format!(r#"{{"{name}":{value},"in":{{"{name}":{value}}}}}"#);
                assert_eq!(rewritten(&text), text);
                let read = read(text.as_bytes()).expect("an object");
                assert_eq!(object(Value::Object(read.clone())).expect("an object"), read, "from a value too");
            }
        }
    }

    #[test]
    fn a_number_beyond_a_double_is_out_of_range() {
        assert!(is_in_range("1e308") && is_in_range("1e-999") && is_in_range(&"9".repeat(300)));
        assert!(!is_in_range("1e999") && !is_in_range("-1e999") && !is_in_range(&"9".repeat(400)));
    }
}
