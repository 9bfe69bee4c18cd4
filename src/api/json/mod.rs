//! Strict JSON reading: every fault of a body at once, each with the pointer of its place, in the body's own order.
//!
//! Not serde's derive, since that stops at the first fault, keeps the last of two members of one name, and knows no
//! pointers.

mod fields;
mod parse;

use std::cell::RefCell;

use serde_json::Value;

use crate::domain::{InputFault, Place};

pub use fields::{Fields, Given};
pub use parse::parse;

/// Most faults that an answer lists. Without it a small body could ask for a very large answer.
const FAULTS_MAX: usize = 1000;

/// The faults found so far.
#[derive(Debug, Default)]
pub struct Faults(RefCell<Vec<InputFault>>);

impl Faults {
    /// Adds one.
    pub fn push(&self, fault: InputFault) {
        let mut faults = self.0.borrow_mut();
        if faults.len() < FAULTS_MAX {
            faults.push(fault);
        }
    }

    /// None so far?
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// In the order of the places that they are about.
    pub fn into_sorted(self, root: &Value) -> Vec<InputFault> {
        let mut faults = self.0.into_inner();
        faults.sort_by_cached_key(|fault| match &fault.place {
            Place::Pointer(pointer) => position(root, pointer),
            Place::Parameter(_) | Place::Header(_) => Vec::new(),
        });
        faults
    }
}

/// Reads a body that is one JSON object. `read` takes what it knows, calls [`Fields::finish`] on each object, and may
/// return `None` only after a fault.
///
/// # Errors
/// All faults, in the body's order.
pub fn read<T>(bytes: &[u8], read: impl FnOnce(Fields<'_>) -> Option<T>) -> Result<T, Vec<InputFault>> {
    let faults = Faults::default();
    let root = parse(bytes, &faults).map_err(|fault| vec![fault])?;
    let found = Fields::of(&root, "#", &faults).and_then(read);
    match found {
        Some(found) if faults.is_empty() => Ok(found),
        _ => Err(faults.into_sorted(&root)),
    }
}

/// The way to a place as positions of members: what is missing comes after its parent's members.
fn position(root: &Value, pointer: &str) -> Vec<usize> {
    let mut way = Vec::new();
    let mut here = Some(root);
    for step in pointer.split('/').skip(1) {
        let name = step.replace("~1", "/").replace("~0", "~");
        let (at, next) = match here {
            Some(Value::Object(members)) => {
                match members.iter().enumerate().find(|(_, (member, _))| **member == name) {
                    Some((at, (_, value))) => (at, Some(value)),
                    None => (usize::MAX, None),
                }
            }
            Some(Value::Array(items)) => {
                let at = name.parse().unwrap_or(usize::MAX);
                (at, items.get(at))
            }
            _ => (usize::MAX, None),
        };
        way.push(at);
        here = next;
    }
    way
}

#[cfg(test)]
mod tests;
