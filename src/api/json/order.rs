//! Sorts faults by their places in the document.

use std::collections::HashMap;

use super::tape::{Element, Tape};
use crate::domain::{ErrorLocation, ValidationError};

/// Sorts faults by their places in the document. A missing member comes after the members of its object.
///
/// Each object and array on the way to a place is gone through once, because many faults may lie in a large one.
pub(super) fn sorted(faults: Vec<ValidationError>, document: &Tape) -> Vec<ValidationError> {
    let steps: Vec<Vec<String>> = faults.iter().map(|fault| steps(&fault.place)).collect();
    let mut positions = vec![Vec::new(); faults.len()];
    let all: Vec<usize> = (0..faults.len()).collect();
    locate(document.root(), 0, &all, &steps, &mut positions);
    let mut placed: Vec<_> = positions.into_iter().zip(faults).collect();
    placed.sort_by(|(one, _), (other, _)| one.cmp(other));
    placed.into_iter().map(|(_, fault)| fault).collect()
}

/// The names and indices from the root to a place.
fn steps(place: &ErrorLocation) -> Vec<String> {
    match place {
        ErrorLocation::Pointer(pointer) => {
            pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
        }
        ErrorLocation::Parameter(_) | ErrorLocation::Header(_) => Vec::new(),
    }
}

/// Adds the position of each step from `depth` on to the places of `faults`, all of which lie within `element`.
fn locate(
    element: Element<'_>,
    depth: usize,
    faults: &[usize],
    steps: &[Vec<String>],
    positions: &mut [Vec<usize>],
) {
    let mut wanted: HashMap<&str, Vec<usize>> = HashMap::new();
    for fault in faults {
        if let Some(step) = steps[*fault].get(depth) {
            wanted.entry(step).or_default().push(*fault);
        }
    }
    let mut found = Vec::new();
    if let Some(members) = element.as_object() {
        for (at, (name, value)) in members.enumerate() {
            if wanted.is_empty() {
                break;
            }
            found.extend(wanted.remove(name).map(|faults| (at, value, faults)));
        }
    } else if let Some(items) = element.as_array() {
        let mut indices: HashMap<usize, Vec<usize>> = HashMap::new();
        wanted.retain(|step, faults| match step.parse() {
            Ok(index) => indices.insert(index, std::mem::take(faults)).is_some(),
            Err(_) => true,
        });
        for (at, value) in items.enumerate() {
            if indices.is_empty() {
                break;
            }
            found.extend(indices.remove(&at).map(|faults| (at, value, faults)));
        }
    }
    for (at, value, faults) in found {
        faults.iter().for_each(|fault| positions[*fault].push(at));
        locate(value, depth + 1, &faults, steps, positions);
    }
    for fault in wanted.into_values().flatten() {
        positions[fault].push(usize::MAX);
    }
}
