//! Draws values that a schema of the OpenAPI document allows.

use std::collections::BTreeMap;

use proptest::collection;
use proptest::option;
use proptest::prelude::*;
use proptest::sample;
use proptest::strategy::Union;
use proptest::string::string_regex;
use serde_json::{Value, json};

use pushpost_testkit::schema::{fault, resolved};

/// Values by the name of the member that they suit, so that not every request is refused for what it means.
pub(super) type Known = BTreeMap<&'static str, Vec<Value>>;

/// The share of the members that may be left out, but are not.
const OPTIONAL_SHARE: f64 = 0.25;

/// Values that the schema allows, for a member of this name. Known values are likelier than others.
pub(super) fn allowed(schema: &'static Value, name: &str, known: &Known) -> BoxedStrategy<Value> {
    let suiting = known.get(name).into_iter().flatten().filter(|value| fault(schema, value).is_none());
    let suiting: Vec<_> = suiting.cloned().collect();
    let schema = resolved(schema);
    let drawn = if let Some(choices) = schema["oneOf"].as_array() {
        union(choices.iter().map(|choice| allowed(choice, name, known)))
    } else if let Some(words) = schema["enum"].as_array() {
        sample::select(words.clone()).boxed()
    } else {
        match &schema["type"] {
            Value::String(kind) => of_type(kind, schema, name, known),
            Value::Array(kinds) => {
                union(kinds.iter().map(|kind| of_type(kind.as_str().unwrap(), schema, name, known)))
            }
            _ => anything(),
        }
    };
    if suiting.is_empty() { drawn } else { prop_oneof![6 => sample::select(suiting), 1 => drawn].boxed() }
}

fn of_type(kind: &str, schema: &'static Value, name: &str, known: &Known) -> BoxedStrategy<Value> {
    match kind {
        "null" => Just(Value::Null).boxed(),
        "boolean" => any::<bool>().prop_map(Value::from).boxed(),
        "integer" => {
            let (least, most) = (schema["minimum"].as_i64(), schema["maximum"].as_i64());
            let number = least.unwrap_or(0)..=most.unwrap_or(1000);
            (number, sample::select(vec!["", ".0", ".00e0", "0e-1"]))
                .prop_map(|(number, end)| serde_json::from_str(&format!("{number}{end}")).unwrap())
                .boxed()
        }
        "number" => {
            let (least, most) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
            (least.unwrap_or(0.0)..=most.unwrap_or(1000.0)).prop_map(Value::from).boxed()
        }
        "string" => text(schema),
        "array" => {
            let least = schema["minItems"].as_u64().unwrap_or(0) as usize;
            collection::vec(allowed(&schema["items"], name, known), least..=least + 3)
                .prop_map(Value::from)
                .boxed()
        }
        "object" => object(schema, known),
        other => panic!("the type {other}"),
    }
}

fn object(schema: &'static Value, known: &Known) -> BoxedStrategy<Value> {
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let properties = schema["properties"].as_object().into_iter().flatten();
    let members: Vec<_> = properties
        .map(|(name, member)| {
            let value = allowed(member, name, known);
            let value = match required.contains(&json!(name)) {
                true => value.prop_map(Some).boxed(),
                false => option::weighted(OPTIONAL_SHARE, value).boxed(),
            };
            (Just(name.clone()), value)
        })
        .collect();
    let others = match &schema["additionalProperties"] {
        Value::Bool(false) | Value::Null => Just(BTreeMap::new()).boxed(),
        other => collection::btree_map("[a-z]{1,8}", allowed(other, "", known), 0..3).boxed(),
    };
    let least = schema["minProperties"].as_u64().unwrap_or(0) as usize;
    let object = (members, others).prop_map(|(members, others)| {
        let members = members.into_iter().filter_map(|(name, value)| Some((name, value?)));
        Value::Object(members.chain(others).collect())
    });
    object.prop_filter("too few members", move |object| object.as_object().unwrap().len() >= least).boxed()
}

fn text(schema: &'static Value) -> BoxedStrategy<Value> {
    if schema["format"] == "date-time" {
        let time =
            "20[0-9]{2}-0[1-9]-[01][1-9]T[01][0-9]:[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]0[0-9]:30)";
        return string_regex(time).unwrap().prop_map(Value::from).boxed();
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        let pattern = pattern.trim_start_matches('^').trim_end_matches('$');
        let drawn = string_regex(pattern).unwrap().prop_map(Value::from);
        return drawn
            .prop_filter("a text of another length", move |text| fault(schema, text).is_none())
            .boxed();
    }
    let least = schema["minLength"].as_u64().unwrap_or(0);
    let most = schema["maxLength"].as_u64().unwrap_or(12).min(12);
    let plain = string_regex(&format!("[a-z0-9 ]{{{least},{most}}}")).unwrap();
    let printable = string_regex(&format!("\\PC{{{least},{most}}}")).unwrap();
    prop_oneof![plain, printable].prop_map(Value::from).boxed()
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
    Union::new(choices).boxed()
}
