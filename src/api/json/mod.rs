//! Strict JSON reading: every fault of a body at once, each with the pointer of its place, in the body's own order.
//!
//! serde's derive would not do: it stops at the first fault, keeps the last of two members of one name, and knows no
//! pointers.

mod aliases;
mod digest;
mod fields;
mod items;
mod order;
mod parse;
mod syntax;
mod tape;

use std::cell::RefCell;

use crate::domain::{InputCode, ValidationError};

pub use fields::{Fields, Given, Objects, Strings, unknown_choice, unknown_name, wrong_type};
pub use items::{NoItems, items};
pub use parse::parse;
pub use tape::{Element, Tape};

/// The most faults that an answer lists, because a small body could ask for a very large answer.
const FAULTS_MAX: usize = 1000;

/// The faults of a body that were found so far.
#[derive(Debug, Default)]
pub struct ValidationErrors(RefCell<Vec<ValidationError>>);

impl ValidationErrors {
    /// Adds a fault, if there is room.
    pub fn push(&self, fault: ValidationError) {
        if !self.is_full() {
            self.0.borrow_mut().push(fault);
        }
    }

    /// Adds several faults, as far as there is room.
    pub fn extend(&self, faults: impl IntoIterator<Item = ValidationError>) {
        faults.into_iter().for_each(|fault| self.push(fault));
    }

    /// Is there no room for more? Then a reader need not look for any.
    pub fn is_full(&self) -> bool {
        self.0.borrow().len() >= FAULTS_MAX
    }

    /// Was no fault found so far?
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Is there a fault with a code of this sort?
    pub fn any(&self, of_sort: fn(InputCode) -> bool) -> bool {
        self.0.borrow().iter().any(|fault| of_sort(fault.code))
    }

    /// The faults in the order of their places in the document.
    pub fn into_sorted(self, document: &Tape) -> Vec<ValidationError> {
        order::sorted(self.0.into_inner(), document)
    }
}

/// Reads a body that is one JSON object. `read` takes the members that it knows and calls [`Fields::finish`] on each
/// object. It may return `None` only after a fault.
///
/// # Errors
/// All faults, in the body's order.
pub fn read<T>(
    body: impl Into<Vec<u8>>,
    read: impl FnOnce(Fields<'_>) -> Option<T>,
) -> Result<T, Vec<ValidationError>> {
    match read_with_faults(body, read) {
        (Some(found), faults) if faults.is_empty() => Ok(found),
        (_, faults) => Err(faults),
    }
}

/// As [`self::read`], with what was read in spite of the faults.
pub fn read_with_faults<T>(
    body: impl Into<Vec<u8>>,
    read: impl FnOnce(Fields<'_>) -> Option<T>,
) -> (Option<T>, Vec<ValidationError>) {
    let faults = ValidationErrors::default();
    let document = match parse(body.into(), &faults) {
        Ok(document) => document,
        Err(fault) => return (None, vec![*fault]),
    };
    let found = Fields::of(document.root(), "#", &faults).and_then(read);
    let faults = if faults.is_empty() { Vec::new() } else { faults.into_sorted(&document) };
    (found, faults)
}

/// Notes which members the readers ask for: tests compare them with the OpenAPI document.
#[cfg(test)]
pub(in crate::api) mod asked {
    use std::cell::RefCell;
    use std::collections::{BTreeMap, BTreeSet};

    /// Names of members by the pointer of their object.
    pub(in crate::api) type Names = BTreeMap<String, BTreeSet<&'static str>>;

    thread_local! {
        static NAMES: RefCell<Names> = RefCell::default();
    }

    pub(super) fn note(at: &str, names: &[&'static str]) {
        NAMES.with_borrow_mut(|all| all.entry(at.to_owned()).or_default().extend(names));
    }

    /// The names that were asked for in this thread since the last call.
    pub(in crate::api) fn take() -> Names {
        NAMES.take()
    }
}

#[cfg(test)]
mod tests;
