//! Reads the schemas of the OpenAPI document: which values they allow, and values that they allow.

use std::collections::BTreeMap;

use http::Method;
use proptest::collection;
use proptest::option;
use proptest::prelude::*;
use proptest::sample;
use proptest::string::string_regex;
use pushpost::api::openapi;
use serde_json::{Map, Value, json};

/// Values by the name of the member that they suit.
pub(super) type Known = BTreeMap<&'static str, Vec<Value>>;

/// The OpenAPI document.
pub(super) struct Document(Value);

impl Document {
    pub(super) fn read() -> Self {
        Self(serde_json::from_str(&openapi::json()).unwrap())
    }

    fn operations(&self) -> impl Iterator<Item = (Method, &str, &Value)> {
        let paths = self.0["paths"].as_object().unwrap().iter();
        paths.flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().iter();
            methods.map(move |(method, operation)| {
                (method.to_uppercase().parse().unwrap(), path.as_str(), operation)
            })
        })
    }

    /// Method, path and schema of each operation with a body of JSON.
    pub(super) fn operations_with_bodies(&self) -> Vec<(Method, &str, &Value)> {
        let bodies = self.operations().map(|(method, path, operation)| {
            (method, path, &operation["requestBody"]["content"]["application/json"]["schema"])
        });
        bodies.filter(|(_, _, schema)| schema.is_object()).collect()
    }

    /// Method, path, name and schema of each query parameter.
    pub(super) fn query_parameters(&self) -> Vec<(Method, &str, &str, &Value)> {
        let mut found = Vec::new();
        for (method, path, operation) in self.operations() {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            for parameter in parameters.filter(|parameter| parameter["in"] == "query") {
                found.push((method.clone(), path, parameter["name"].as_str().unwrap(), &parameter["schema"]));
            }
        }
        found
    }

    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(target) => self.0.pointer(target.trim_start_matches('#')).expect("the schema is there"),
            None => schema,
        }
    }

    pub(super) fn is_enumeration(&self, schema: &Value) -> bool {
        self.resolve(schema)["enum"].is_array()
    }

    /// Does the schema allow the value? Patterns and formats are not looked at: a value that only they forbid is allowed.
    pub(super) fn allows(&self, schema: &Value, value: &Value) -> bool {
        let schema = self.resolve(schema);
        if let Some(choices) = schema["oneOf"].as_array() {
            return choices.iter().any(|choice| self.allows(choice, value));
        }
        is_of_type(&schema["type"], value)
            && schema["enum"].as_array().is_none_or(|words| words.contains(value))
            && match value {
                Value::Object(members) => self.allows_members(schema, members),
                Value::Array(items) => {
                    is_within(schema, "Items", items.len() as f64)
                        && (schema["items"].is_null()
                            || items.iter().all(|item| self.allows(&schema["items"], item)))
                }
                Value::String(text) => is_within(schema, "Length", text.chars().count() as f64),
                Value::Number(number) => is_within(schema, "imum", number.as_f64().unwrap()),
                Value::Bool(_) | Value::Null => true,
            }
    }

    fn allows_members(&self, schema: &Value, members: &Map<String, Value>) -> bool {
        let mut required = schema["required"].as_array().into_iter().flatten();
        required.all(|name| members.contains_key(name.as_str().unwrap()))
            && is_within(schema, "Properties", members.len() as f64)
            && members.iter().all(|(name, value)| {
                match (&schema["properties"][name], &schema["additionalProperties"]) {
                    (Value::Null, Value::Null) => true,
                    (Value::Null, Value::Bool(allowed)) => *allowed,
                    (Value::Null, other) => self.allows(other, value),
                    (member, _) => self.allows(member, value),
                }
            })
    }

    /// Values that the schema allows, for a member of this name. Known values are likelier than others.
    pub(super) fn allowed(&self, schema: &Value, name: &str, known: &Known) -> BoxedStrategy<Value> {
        let schema = self.resolve(schema);
        if let Some(choices) = schema["oneOf"].as_array() {
            return union(choices.iter().map(|choice| self.allowed(choice, name, known)));
        }
        if let Some(words) = schema["enum"].as_array() {
            return sample::select(words.clone()).boxed();
        }
        match &schema["type"] {
            Value::String(kind) => self.of_type(kind, schema, name, known),
            Value::Array(kinds) => {
                union(kinds.iter().map(|kind| self.of_type(kind.as_str().unwrap(), schema, name, known)))
            }
            _ => anything(),
        }
    }

    fn of_type(&self, kind: &str, schema: &Value, name: &str, known: &Known) -> BoxedStrategy<Value> {
        match kind {
            "null" => Just(Value::Null).boxed(),
            "boolean" => any::<bool>().prop_map(Value::from).boxed(),
            "integer" => {
                let (least, most) = (schema["minimum"].as_i64(), schema["maximum"].as_i64());
                (least.unwrap_or(0)..=most.unwrap_or(1000)).prop_map(Value::from).boxed()
            }
            "number" => {
                let (least, most) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
                (least.unwrap_or(0.0)..=most.unwrap_or(1000.0)).prop_map(Value::from).boxed()
            }
            "string" => text(schema, name, known),
            "array" => {
                let least = schema["minItems"].as_u64().unwrap_or(0) as usize;
                collection::vec(self.allowed(&schema["items"], name, known), least..=least + 3)
                    .prop_map(Value::from)
                    .boxed()
            }
            "object" => self.object(schema, known),
            other => panic!("the type {other}"),
        }
    }

    fn object(&self, schema: &Value, known: &Known) -> BoxedStrategy<Value> {
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let properties = schema["properties"].as_object().into_iter().flatten();
        let members: Vec<_> = properties
            .map(|(name, member)| {
                let share = if required.contains(&json!(name)) { 1.0 } else { 0.3 };
                let value = option::weighted(share, self.allowed(member, name, known));
                (Just(name.clone()), value)
            })
            .collect();
        let others = match &schema["additionalProperties"] {
            Value::Bool(false) | Value::Null => Just(BTreeMap::new()).boxed(),
            other => {
                let value = self.allowed(other, "", known);
                collection::btree_map("[a-z]{1,8}", value, 0..3).boxed()
            }
        };
        let least = schema["minProperties"].as_u64().unwrap_or(0) as usize;
        let object = (members, others).prop_map(|(members, others)| {
            let members = members.into_iter().filter_map(|(name, value)| Some((name, value?)));
            Value::Object(members.chain(others).collect())
        });
        object
            .prop_filter("too few members", move |object| object.as_object().unwrap().len() >= least)
            .boxed()
    }
}

fn text(schema: &Value, name: &str, known: &Known) -> BoxedStrategy<Value> {
    if schema["format"] == "date-time" {
        return string_regex(
            "20[0-9]{2}-0[1-9]-[012][1-9]T[01][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]0[0-9]:30)",
        )
        .unwrap()
        .prop_map(Value::from)
        .boxed();
    }
    let least = schema["minLength"].as_u64().unwrap_or(0);
    let drawn = match schema["pattern"].as_str() {
        Some(pattern) => string_regex(pattern.trim_start_matches('^').trim_end_matches('$')).unwrap().boxed(),
        None => {
            let most = schema["maxLength"].as_u64().unwrap_or(12).min(12);
            prop_oneof![
                string_regex(&format!("[a-z0-9 ]{{{least},{most}}}")).unwrap(),
                string_regex(&format!("\\PC{{{least},{most}}}")).unwrap(),
            ]
            .boxed()
        }
    };
    let drawn = drawn.prop_map(Value::from);
    match known.get(name) {
        Some(values) => prop_oneof![4 => sample::select(values.clone()), 1 => drawn].boxed(),
        None => drawn.boxed(),
    }
}

/// Any JSON, not deep.
fn anything() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    let inner = leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            collection::btree_map("[a-z]{1,6}", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    });
    inner.boxed()
}

fn union(choices: impl Iterator<Item = BoxedStrategy<Value>>) -> BoxedStrategy<Value> {
    proptest::strategy::Union::new(choices).boxed()
}

/// Is the number within the two bounds with this end of their names, such as `minLength` and `maxLength`?
fn is_within(schema: &Value, bound: &str, number: f64) -> bool {
    let bound = |side: &str| schema[format!("{side}{bound}")].as_f64();
    bound("min").is_none_or(|least| number >= least) && bound("max").is_none_or(|most| number <= most)
}

fn is_of_type(allowed: &Value, value: &Value) -> bool {
    let is = |kind: &Value| match kind.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => true,
    };
    match allowed {
        Value::Array(kinds) => kinds.iter().any(is),
        kind => is(kind),
    }
}
