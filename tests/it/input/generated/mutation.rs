//! One change of a body at one place.

use proptest::prelude::*;
use proptest::sample::{self, Index};
use serde_json::{Map, Value, json};

/// What is changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum MutationKind {
    WrongType,
    UnknownMember,
    MissingMember,
    OutOfRange,
    DuplicateMember,
}

impl MutationKind {
    pub(super) fn any() -> impl Strategy<Value = Self> {
        sample::select(vec![
            Self::WrongType,
            Self::UnknownMember,
            Self::MissingMember,
            Self::OutOfRange,
            Self::DuplicateMember,
        ])
    }
}

/// A body as it is sent.
#[derive(Debug)]
pub(super) struct Mutated {
    /// The document, which can hold a member twice.
    pub(super) text: String,
    pub(super) body: Value,
    pub(super) is_duplicate: bool,
    /// The pointer of what was changed, without `#`. None: nothing was.
    pub(super) place: Option<String>,
}

impl Mutated {
    pub(super) fn unchanged(body: &Value) -> Self {
        Self { text: body.to_string(), body: body.clone(), is_duplicate: false, place: None }
    }

    /// Is there something at the pointer of a fault, or an object that lacks it? `at` is the place of the item that the
    /// fault is about.
    pub(super) fn has_place(&self, at: &str, pointer: &str) -> bool {
        let Some(pointer) = pointer.strip_prefix('#').map(|pointer| format!("{at}{pointer}")) else {
            return false;
        };
        let parent = pointer.rsplit_once('/').map(|(parent, _)| parent);
        let is_missing = || parent.and_then(|parent| self.body.pointer(parent)).is_some_and(Value::is_object);
        self.body.pointer(&pointer).is_some() || is_missing()
    }
}

/// The body with one change. Where a body has no place for the change, nothing is changed.
pub(super) fn mutated(body: &Value, kind: MutationKind, place: Index, choice: Index) -> Mutated {
    let mut places = Vec::new();
    collect(body, String::new(), &mut places);
    let suits = |at: &String| match (kind, body.pointer(at).unwrap()) {
        (MutationKind::UnknownMember, value) => value.is_object(),
        (MutationKind::MissingMember | MutationKind::DuplicateMember, value) => {
            value.as_object().is_some_and(|members| !members.is_empty())
        }
        (MutationKind::OutOfRange, value) => value.is_string() || value.is_number(),
        (MutationKind::WrongType, _) => true,
    };
    places.retain(suits);
    if places.is_empty() {
        return Mutated::unchanged(body);
    }
    let at = places.swap_remove(place.index(places.len()));
    let mut changed = Mutated { place: Some(at.clone()), ..Mutated::unchanged(body) };
    let value = changed.body.pointer_mut(&at).unwrap();
    match (kind, value) {
        (MutationKind::UnknownMember, Value::Object(members)) => {
            members.insert("zzUnknown".to_owned(), json!(1));
            changed.place = Some(format!("{at}/zzUnknown"));
        }
        (MutationKind::MissingMember, Value::Object(members)) => {
            let name = nth(members, choice);
            members.shift_remove(&name);
            changed.place = Some(member(&at, &name));
        }
        (MutationKind::DuplicateMember, Value::Object(members)) => {
            let name = nth(members, choice);
            changed.place = Some(member(&at, &name));
            changed.is_duplicate = true;
            // The mark is written as the member's name afterwards.
            members.insert(MARK.to_owned(), members[&name].clone());
            changed.text =
                changed.body.to_string().replacen(&json!(MARK).to_string(), &json!(name).to_string(), 1);
            changed.body = body.clone();
            return changed;
        }
        (MutationKind::OutOfRange, value) => *value = out_of_range(value, choice),
        (_, value) => *value = other_type(value, choice),
    }
    changed.text = changed.body.to_string();
    changed
}

/// No member has this name.
const MARK: &str = "\u{1}twice";

fn collect(value: &Value, at: String, into: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| collect(value, member(&at, name), into))
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| collect(item, format!("{at}/{n}"), into))
        }
        _ => {}
    }
    into.push(at);
}

fn member(at: &str, name: &str) -> String {
    format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn nth(members: &Map<String, Value>, choice: Index) -> String {
    members.keys().nth(choice.index(members.len())).unwrap().clone()
}

fn other_type(value: &Value, choice: Index) -> Value {
    let all = [json!(null), json!(true), json!(7), json!("x"), json!([]), json!({})];
    let kind = std::mem::discriminant(value);
    let others: Vec<_> = all.into_iter().filter(|other| std::mem::discriminant(other) != kind).collect();
    choice.get(&others).clone()
}

fn out_of_range(value: &Value, choice: Index) -> Value {
    let others = match value {
        Value::Number(_) => [json!(-1), json!(1e15), json!(0.5)],
        _ => [json!(""), json!("x".repeat(5000)), json!("\u{0}")],
    };
    choice.get(&others).clone()
}
