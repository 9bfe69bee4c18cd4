//! Strict JSON reading: every fault of a body at once, each with the pointer of its place, in the body's own order.
//!
//! Not serde's derive, since that stops at the first fault, keeps the last of two members of one name, and knows no
//! pointers.

mod aliases;
mod fields;
mod order;
mod parse;
mod syntax;
mod tape;

use std::cell::RefCell;

use crate::domain::{InputCode, ValidationError};

pub use fields::{Fields, Given, Objects, Strings, unknown_name, wrong_type};
pub use parse::parse;
pub use tape::{Element, Tape};

/// Most faults that an answer lists. Without it a small body could ask for a very large answer.
const FAULTS_MAX: usize = 1000;

/// The faults found so far.
#[derive(Debug, Default)]
pub struct ValidationErrors(RefCell<Vec<ValidationError>>);

impl ValidationErrors {
    /// Adds one, if there is room.
    pub fn push(&self, fault: ValidationError) {
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
    pub fn into_sorted(self, document: &Tape) -> Vec<ValidationError> {
        order::sorted(self.0.into_inner(), document)
    }
}

/// Reads a body that is one JSON object. `read` takes what it knows, calls [`Fields::finish`] on each object, and may
/// return `None` only after a fault.
///
/// # Errors
/// All faults, in the body's order.
pub fn read<T>(
    body: impl Into<Vec<u8>>,
    read: impl FnOnce(Fields<'_>) -> Option<T>,
) -> Result<T, Vec<ValidationError>> {
    let faults = ValidationErrors::default();
    let document = parse(body.into(), &faults).map_err(|fault| vec![*fault])?;
    let found = Fields::of(document.root(), "#", &faults).and_then(read);
    match found {
        Some(found) if faults.is_empty() => Ok(found),
        _ => Err(faults.into_sorted(&document)),
    }
}

#[cfg(test)]
mod tests;
