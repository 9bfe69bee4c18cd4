//! Judges JSON by the schemas of the OpenAPI document. It is written apart from the code that reads requests and writes
//! answers, and panics at a keyword that it does not know, so that no part of a schema is passed over.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use pushpost::api::openapi;
use regex::Regex;
use serde_json::{Map, Value};

/// The OpenAPI document.
pub static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(&openapi::json()).unwrap());

/// Keywords that forbid nothing, and two that are judged beside the others. Of formats only that of times is judged.
const JUDGED_ELSEWHERE: [&str; 8] =
    ["description", "title", "example", "examples", "default", "deprecated", "format", "required"];

/// A platform and environments that tests add. The document has those of the built-in providers.
const OF_TEST_PROVIDERS: [&str; 3] = ["beacon", "named", "numbered"];

/// The schema that a reference stands for, or the schema itself.
pub fn resolved(schema: &'static Value) -> &'static Value {
    match schema["$ref"].as_str() {
        Some(target) => DOCUMENT.pointer(target.trim_start_matches('#')).expect("the schema is there"),
        None => schema,
    }
}

/// Why the schema forbids the value: the place, and what is wrong there. None: it allows the value.
pub fn fault(schema: &'static Value, value: &Value) -> Option<String> {
    fault_at("#", schema, value)
}

fn fault_at(at: &str, schema: &'static Value, value: &Value) -> Option<String> {
    let keywords = schema.as_object().unwrap_or_else(|| panic!("no schema at {at}: {schema}"));
    let by_keyword = keywords.iter().find_map(|(name, of)| fault_of_keyword(at, schema, name, of, value));
    by_keyword.or_else(|| missing(at, schema, value)).or_else(|| bad_time(at, schema, value))
}

fn fault_of_keyword(
    at: &str,
    schema: &'static Value,
    name: &str,
    of: &'static Value,
    value: &Value,
) -> Option<String> {
    let each = |of: &'static Value| of.as_array().unwrap().iter().map(|one| fault_at(at, one, value));
    let number = value.as_f64();
    let length = value.as_str().map(|text| text.chars().count() as f64);
    let items = value.as_array().map(|items| items.len() as f64);
    let members = value.as_object().map(|members| members.len() as f64);
    let least = |found: Option<f64>| found.is_none_or(|found| found >= of.as_f64().unwrap());
    let most = |found: Option<f64>| found.is_none_or(|found| found <= of.as_f64().unwrap());
    let is_kept = match name {
        "$ref" => return fault_at(at, resolved(schema), value),
        "allOf" => return each(of).flatten().next(),
        "anyOf" => {
            return if each(of).any(|fault| fault.is_none()) { None } else { each(of).flatten().last() };
        }
        "oneOf" => match each(of).filter(Option::is_none).count() {
            1 => true,
            0 => return each(of).flatten().last(),
            _ => false,
        },
        "properties" | "additionalProperties" | "propertyNames" => {
            return fault_of_members(at, schema, value);
        }
        "items" => return fault_of_items(at, of, value),
        "type" => is_of_type(of, value),
        "enum" => {
            of.as_array().unwrap().contains(value) || OF_TEST_PROVIDERS.iter().any(|word| value == word)
        }
        "pattern" => value.as_str().is_none_or(|text| matches(of.as_str().unwrap(), text)),
        "minimum" => least(number),
        "maximum" => most(number),
        "minLength" => least(length),
        "maxLength" => most(length),
        "minItems" => least(items),
        "maxItems" => most(items),
        "minProperties" => least(members),
        "maxProperties" => most(members),
        known if JUDGED_ELSEWHERE.contains(&known) => true,
        unknown => panic!("the test kit does not know the keyword {unknown} of {schema}"),
    };
    (!is_kept).then(|| format!("{at}: {value} is not {name} {of}"))
}

fn fault_of_members(at: &str, schema: &'static Value, value: &Value) -> Option<String> {
    value.as_object()?.iter().find_map(|(name, member)| {
        let at = format!("{at}/{name}");
        let names = &schema["propertyNames"];
        let by_name = (!names.is_null()).then(|| fault_at(&at, names, &Value::from(name.as_str()))).flatten();
        let of_member = match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Bool(false)) => Some(format!("{at} is unknown")),
            (Value::Null, Value::Null | Value::Bool(true)) => None,
            (Value::Null, of) | (of, _) => fault_at(&at, of, member),
        };
        by_name.or(of_member)
    })
}

fn fault_of_items(at: &str, of: &'static Value, value: &Value) -> Option<String> {
    value.as_array()?.iter().enumerate().find_map(|(n, item)| fault_at(&format!("{at}/{n}"), of, item))
}

fn missing(at: &str, schema: &Value, value: &Value) -> Option<String> {
    let members: &Map<String, Value> = value.as_object()?;
    let mut required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    required.find(|name| !members.contains_key(*name)).map(|name| format!("{at}/{name} is missing"))
}

fn bad_time(at: &str, schema: &Value, value: &Value) -> Option<String> {
    let text = value.as_str().filter(|_| schema["format"] == "date-time")?;
    chrono::DateTime::parse_from_rfc3339(text).is_err().then(|| format!("{at}: {text:?} is no time"))
}

fn is_of_type(allowed: &Value, value: &Value) -> bool {
    let is = |kind: &Value| match kind.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the type {other}"),
    };
    match allowed {
        Value::Array(kinds) => kinds.iter().any(is),
        kind => is(kind),
    }
}

fn matches(pattern: &'static str, text: &str) -> bool {
    static KNOWN: LazyLock<Mutex<HashMap<&'static str, Regex>>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock().unwrap();
    known.entry(pattern).or_insert_with(|| Regex::new(pattern).unwrap()).is_match(text)
}
