//! Each request body: its schema and its reader take the same members, of the same types.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::document_json;
use crate::api::admin::read_for_test as admin;
use crate::api::admin::read_webhooks_for_test as webhooks;
use crate::api::devices::read_for_test as devices;
use crate::api::error::ApiError;
use crate::api::json::asked;
use crate::api::notifications::read_for_test as notifications;
use crate::api::topics::read_for_test as topics;
use crate::domain::{ErrorLocation, ValidationError};

type Read = fn(Vec<u8>) -> Result<(), ApiError>;

/// Every request body: its schema and its reader.
const BODIES: &[(&str, Read)] = &[
    ("SendRequest", notifications::send),
    ("CancelRequest", notifications::cancel),
    ("PreviewRequest", notifications::preview),
    ("DeviceRegistration", devices::registration),
    ("DeviceChanges", devices::changes),
    ("TokenOfDevice", devices::token),
    ("LookupRequest", devices::lookup),
    ("TopicMembers", topics::members),
    ("CleanupRequest", admin::start),
    ("WebhookRequest", webhooks::create),
    ("WebhookChanges", webhooks::change),
    ("ReplayRequest", webhooks::replay),
    ("RotateRequest", webhooks::rotate),
];

/// Members that alone make a body whole, because it has one of several. Without it something is missing.
const ONE_OF_SEVERAL: &[(&str, &str)] = &[("ReplayRequest", "since")];

struct Document(Value);

impl Document {
    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(target) => self.0.pointer(target.trim_start_matches('#')).expect("the schema is there"),
            None => schema,
        }
    }

    /// The alternatives of a schema, but for null.
    fn alternatives<'a>(&'a self, schema: &'a Value) -> Vec<&'a Value> {
        match schema["oneOf"].as_array() {
            Some(all) => {
                all.iter().filter(|one| one["type"] != "null").map(|one| self.resolve(one)).collect()
            }
            None => vec![self.resolve(schema)],
        }
    }

    /// The JSON types that a schema allows; empty: any.
    fn types(&self, schema: &Value) -> BTreeSet<String> {
        let of = |one: &Value| match &one["type"] {
            Value::String(name) => vec![name.clone()],
            Value::Array(names) => {
                names.iter().map(|name| name.as_str().expect("a type").to_owned()).collect()
            }
            _ => Vec::new(),
        };
        let is_nullable =
            schema["oneOf"].as_array().is_some_and(|all| all.iter().any(|one| one["type"] == "null"));
        let types = self.alternatives(schema).into_iter().flat_map(of);
        types.chain(is_nullable.then(|| "null".to_owned())).collect()
    }

    /// The example of a schema, with the examples of the schemas of its members in it.
    fn example(&self, schema: &Value) -> Option<Value> {
        let schema = *self.alternatives(schema).first()?;
        if schema["type"] == "array" || schema["type"][0] == "array" {
            return self.example(&schema["items"]).map(|item| json!([item]));
        }
        let mut example = schema["example"].clone();
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            if let Some(inner) = self.example(member) {
                example[name] = inner;
            }
        }
        (!example.is_null()).then_some(example)
    }

    /// Every schema of an object with fixed members that a body reaches, by the pointer of the object in the example.
    fn objects<'a>(&'a self, schema: &'a Value, at: String, into: &mut Vec<(String, &'a Value)>) {
        for schema in self.alternatives(schema) {
            if schema["items"].is_object() {
                self.objects(&schema["items"], format!("{at}/0"), into);
            }
            let Some(members) = schema["properties"].as_object() else { continue };
            for (name, member) in members {
                self.objects(member, format!("{at}/{name}"), into);
            }
            into.push((at.clone(), schema));
        }
    }
}

fn faults(read: Read, body: &Value) -> Vec<ValidationError> {
    match read(body.to_string().into_bytes()) {
        Ok(()) => Vec::new(),
        Err(ApiError::Invalid(faults)) => faults,
        Err(other) => panic!("{body}: {other}"),
    }
}

fn codes(read: Read, body: &Value) -> Vec<(String, &'static str)> {
    let code = |fault: ValidationError| match fault.place {
        ErrorLocation::Pointer(pointer) => (pointer, fault.code.as_str()),
        other => panic!("{other:?} in a body"),
    };
    faults(read, body).into_iter().map(code).collect()
}

/// Runs `check` for each object of each body: its name, reader, example, pointer and schema.
fn each_object(check: impl Fn(&Document, &str, Read, &Value, &str, &Value)) {
    let document = Document(document_json());
    for (name, read) in BODIES {
        let schema = &document.0["components"]["schemas"][*name];
        let example = document.example(schema).expect("an example");
        let mut objects = Vec::new();
        document.objects(schema, "#".to_owned(), &mut objects);
        for (at, object) in objects {
            check(&document, name, *read, &example, &at, object);
        }
    }
}

/// The example with a member of the object at a pointer set, or left out.
fn changed(example: &Value, at: &str, member: &str, value: Option<Value>) -> Value {
    let mut body = example.clone();
    let object = body.pointer_mut(at.trim_start_matches('#')).and_then(Value::as_object_mut);
    let object = object.unwrap_or_else(|| panic!("the example has no {at}"));
    match value {
        Some(value) => _ = object.insert(member.to_owned(), value),
        None => _ = object.shift_remove(member),
    }
    body
}

#[test]
fn every_request_body_of_the_document_is_checked() {
    let document = document_json();
    let mut named = BTreeSet::new();
    for item in document["paths"].as_object().expect("paths").values() {
        for operation in item.as_object().expect("an item").values() {
            for content in operation["requestBody"]["content"].as_object().into_iter().flatten() {
                // An array's items are read one by one.
                let schema = &content.1["schema"];
                let schema = if schema["items"].is_object() { &schema["items"] } else { schema };
                let choice = schema["anyOf"].as_array().cloned().unwrap_or(vec![schema.clone()]);
                for one in choice {
                    let target = one["$ref"].as_str().expect("a schema");
                    named.insert(target.rsplit('/').next().unwrap_or_default().to_owned());
                }
            }
        }
    }
    assert_eq!(named, BODIES.iter().map(|(name, _)| (*name).to_owned()).collect());
}

#[test]
fn examples_are_accepted() {
    let document = Document(document_json());
    for (name, read) in BODIES {
        let schema = &document.0["components"]["schemas"][*name];
        assert_eq!(codes(*read, &schema["example"]), [], "{name}");
        assert_eq!(codes(*read, &document.example(schema).expect("an example")), [], "{name}");
    }
}

#[test]
fn readers_ask_for_the_members_of_the_schema() {
    each_object(|_, name, read, example, at, schema| {
        asked::take();
        assert_eq!(codes(read, example), [], "{name}");
        let asked = asked::take().remove(at).unwrap_or_default();
        let documented: BTreeSet<_> = schema["properties"].as_object().expect("an object").keys().collect();
        let asked: BTreeSet<String> = asked.into_iter().map(str::to_owned).collect();
        assert_eq!(asked.iter().collect::<BTreeSet<_>>(), documented, "{name} {at}");
        assert_eq!(schema["additionalProperties"], false, "{name} {at}");
    });
}

#[test]
fn required_members_are_missed_and_others_are_not() {
    each_object(|_, name, read, example, at, schema| {
        let required: Vec<_> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for member in schema["properties"].as_object().expect("an object").keys() {
            let expected = match required.contains(&member.as_str()) {
                true => vec![(format!("{at}/{member}"), "missing_field")],
                false if ONE_OF_SEVERAL.contains(&(name, member.as_str())) => {
                    vec![(at.to_owned(), "missing_field")]
                }
                false => vec![],
            };
            let without = changed(example, at, member, None);
            assert_eq!(codes(read, &without), expected, "{name} without {at}/{member}");
        }
    });
}

#[test]
fn members_have_the_documented_types() {
    each_object(|document, name, read, example, at, schema| {
        for (member, schema) in schema["properties"].as_object().expect("an object") {
            let place = format!("{at}/{member}");
            let types = document.types(schema);
            let null = codes(read, &changed(example, at, member, Some(Value::Null)));
            if ONE_OF_SEVERAL.contains(&(name, member.as_str())) {
                assert_eq!(null, [(at.to_owned(), "missing_field")], "{name} {place} is null");
            } else if types.is_empty() || types.contains("null") {
                assert_eq!(null, [], "{name} {place} is null");
            } else {
                assert_eq!(null, [(place.clone(), "missing_field")], "{name} {place} is null");
            }
            let values = [json!({}), json!([]), json!("x"), json!(true), json!(1.5)];
            for value in values.iter().filter(|_| !types.is_empty()) {
                let of = match value {
                    Value::Object(_) => "object",
                    Value::Array(_) => "array",
                    Value::String(_) => "string",
                    Value::Bool(_) => "boolean",
                    _ => "number",
                };
                let found = codes(read, &changed(example, at, member, Some(value.clone())));
                let is_wrong_type = found.contains(&(place.clone(), "wrong_type"));
                let is_faulty = found.iter().any(|(pointer, _)| *pointer == place);
                match types.contains(of) {
                    true => assert!(!is_wrong_type, "{name} {place}: {value}: {found:?}"),
                    false => assert!(is_faulty, "{name} {place}: {value}: {found:?}"),
                }
            }
        }
    });
}
