//! Strict JSON reading: every fault of a body at once, each with the pointer of its place, in the body's own order.
//!
//! Not serde's derive, since that stops at the first fault, keeps the last of two members of one name, and knows no
//! pointers.

mod fields;
mod parse;

use std::cell::RefCell;
use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::domain::{InputCode, InputFault, Place};

pub use fields::{Fields, Given, wrong_type};
pub use parse::parse;

/// Most faults that an answer lists. Without it a small body could ask for a very large answer.
const FAULTS_MAX: usize = 1000;

/// The faults found so far.
#[derive(Debug, Default)]
pub struct Faults(RefCell<Vec<InputFault>>);

impl Faults {
    /// Adds one, if there is room.
    pub fn push(&self, fault: InputFault) {
        if !self.is_full() {
            self.0.borrow_mut().push(fault);
        }
    }

    /// Is there no room for more? Whoever would look for many need not.
    pub fn is_full(&self) -> bool {
        self.0.borrow().len() >= FAULTS_MAX
    }

    /// None so far?
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Is one of them of this sort?
    pub fn any(&self, of_sort: fn(InputCode) -> bool) -> bool {
        self.0.borrow().iter().any(|fault| of_sort(fault.code))
    }

    /// In the order of the places that they are about.
    pub fn into_sorted(self, root: &Value) -> Vec<InputFault> {
        let mut faults = self.0.into_inner();
        let mut order = Order::default();
        faults.sort_by_cached_key(|fault| match &fault.place {
            Place::Pointer(pointer) => order.position(root, pointer),
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
    let root = parse(bytes, &faults).map_err(|fault| vec![*fault])?;
    let found = Fields::of(&root, "#", &faults).and_then(read);
    match found {
        Some(found) if faults.is_empty() => Ok(found),
        _ => Err(faults.into_sorted(&root)),
    }
}

/// Where members stand in their objects, each object gone through once: many faults may lie in a large one.
#[derive(Default)]
struct Order<'v>(HashMap<*const Map<String, Value>, HashMap<&'v str, usize>>);

impl<'v> Order<'v> {
    /// The way to a place as positions of members: what is missing comes after its parent's members.
    fn position(&mut self, root: &'v Value, pointer: &str) -> Vec<usize> {
        let mut way = Vec::new();
        let mut here = Some(root);
        for step in pointer.split('/').skip(1) {
            let name = step.replace("~1", "/").replace("~0", "~");
            let (at, next) = match here {
                Some(Value::Object(members)) => match self.members(members).get(name.as_str()) {
                    Some(at) => (*at, members.get(&name)),
                    None => (usize::MAX, None),
                },
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

    fn members(&mut self, members: &'v Map<String, Value>) -> &HashMap<&'v str, usize> {
        let number = || members.keys().zip(0..).map(|(name, at)| (name.as_str(), at)).collect();
        self.0.entry(std::ptr::from_ref(members)).or_insert_with(number)
    }
}

#[cfg(test)]
mod tests;
