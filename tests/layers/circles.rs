//! Import circles between the parts of a module, where a part is a file or a folder.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Source;

/// By part, the other parts that it imports. The module's own file is the part `mod`.
pub(crate) type Imports = BTreeMap<String, BTreeSet<String>>;

/// What the parts of the top module `module` import of each other, tests left aside.
pub(crate) fn imports(module: &str, sources: &[Source]) -> Imports {
    let folder = format!("src/{module}/");
    let part_of = |path: &str| {
        let inner = path.strip_prefix(&folder)?;
        let part = inner.split('/').next()?;
        Some(part.trim_end_matches(".rs").to_owned())
    };
    let parts: BTreeSet<String> = sources.iter().filter_map(|source| part_of(&source.path)).collect();
    let mut imports = Imports::new();
    for source in sources {
        let Some(from) = part_of(&source.path) else { continue };
        for path in source.paths.iter().filter(|path| !source.is_test(path.line)) {
            let names: Vec<&str> = path.segments.iter().map(String::as_str).collect();
            let to = match names.as_slice() {
                ["crate", top, part, ..] if *top == module && parts.contains(*part) => *part,
                ["crate", top, _, ..] if *top == module => "mod",
                [part, ..] if from == "mod" && parts.contains(*part) => *part,
                _ => continue,
            };
            if to != from {
                imports.entry(from.clone()).or_default().insert(to.to_owned());
            }
        }
    }
    imports
}

/// A circle, as the parts on the way from the first one back to itself.
pub(crate) fn circle(imports: &Imports) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    imports.keys().find_map(|part| walk(imports, part, &mut Vec::new(), &mut done))
}

fn walk(
    imports: &Imports,
    part: &str,
    way: &mut Vec<String>,
    done: &mut BTreeSet<String>,
) -> Option<Vec<String>> {
    if let Some(at) = way.iter().position(|before| before == part) {
        let mut circle = way.split_off(at);
        circle.push(part.to_owned());
        return Some(circle);
    }
    if !done.insert(part.to_owned()) {
        return None;
    }
    way.push(part.to_owned());
    let found = imports.get(part).into_iter().flatten().find_map(|next| walk(imports, next, way, done));
    way.pop();
    found
}
