//! Reading and judging JSON: values of answers, and what a test expects of them.

use serde_json::{Value, json};

use crate::answer::Answer;

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no string: {value}")).to_owned()
}

/// 64 hexadecimal digits, which repeat two.
pub fn hex(two: &str) -> String {
    two.repeat(32)
}

/// So many APNs tokens that begin with `prefix`, as targets.
pub fn apns_targets(prefix: &str, count: usize) -> Vec<Value> {
    let digits = 64 - prefix.len();
    (0..count).map(|i| json!({"platform": "apns", "token": format!("{prefix}{i:0digits$x}")})).collect()
}

/// So many FCM tokens that begin with `prefix`, as targets.
pub fn fcm_targets(prefix: &str, count: usize) -> Vec<Value> {
    (0..count).map(|i| json!({"platform": "fcm", "token": format!("{prefix}{i}")})).collect()
}

/// The delivery that has this value.
#[track_caller]
pub fn of<'a>(deliveries: &'a [Value], field: &str, value: &str) -> &'a Value {
    let found: Vec<_> = deliveries.iter().filter(|delivery| delivery[field] == value).collect();
    assert_eq!(found.len(), 1, "{field} {value} in {deliveries:?}");
    found[0]
}

/// Asserts status, attempts and reason of a delivery.
#[track_caller]
pub fn assert_ended(delivery: &Value, status: &str, attempts: u32, reason: Option<&str>) {
    let found = (&delivery["status"], &delivery["attempts"], &delivery["reason"]);
    assert_eq!(found, (&json!(status), &json!(attempts), &json!(reason)), "{delivery}");
}

/// Every member of `expected` is there and equal; strings in `<…>` match any string. More members are fine.
pub fn assert_has(found: &Value, expected: &Value) {
    match (found, expected) {
        (Value::Object(found_members), Value::Object(expected)) => {
            for (name, value) in expected {
                let member = found_members.get(name);
                assert_has(member.unwrap_or_else(|| panic!("{name} is missing in {found}")), value);
            }
        }
        (Value::Array(items), Value::Array(expected)) => {
            assert_eq!(items.len(), expected.len(), "{found}");
            items.iter().zip(expected).for_each(|(item, expected)| assert_has(item, expected));
        }
        (Value::String(_), Value::String(any)) if any.starts_with('<') => {}
        _ => assert_eq!(found, expected),
    }
}

/// As [`assert_has`], with no further members anywhere.
#[track_caller]
pub fn assert_exact(found: &Value, expected: &Value) {
    assert_has(found, expected);
    assert_eq!(members(found), members(expected), "{found}");
}

/// The paths of all members, ascending.
fn members(value: &Value) -> Vec<String> {
    let below = |name: &str, value| {
        members(value).into_iter().map(move |path| format!("{name}/{path}")).collect::<Vec<_>>()
    };
    let mut all: Vec<String> = match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, value)| [vec![name.clone()], below(name, value)].concat())
            .collect(),
        Value::Array(items) => {
            items.iter().enumerate().flat_map(|(place, item)| below(&place.to_string(), item)).collect()
        }
        _ => Vec::new(),
    };
    all.sort();
    all
}

/// A problem document with these faults, in this order, each with these members.
#[track_caller]
pub fn assert_problem(answer: &Answer, status: u16, code: &str, errors: &Value) {
    let body = &answer.body;
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{answer:?}");
    assert_eq!(body["request_id"], answer.headers["request-id"].to_str().unwrap());
    assert_eq!((&body["code"], &body["status"]), (&json!(code), &json!(status)), "{body}");
    assert_eq!(body["type"], format!("/docs/errors#{code}"));
    for text in ["title", "detail"] {
        assert!(body[text].as_str().is_some_and(|text| !text.is_empty()), "{body}");
    }
    let none = json!([]);
    let found = body.get("errors").unwrap_or(&none).as_array().unwrap();
    let expected = errors.as_array().unwrap();
    assert_eq!(found.len(), expected.len(), "{body}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found["detail"].as_str().is_some_and(|text| !text.is_empty()), "{found}");
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(found.get(name), Some(value), "{name} of {found}");
        }
    }
}
