//! The document against what the API does: the committed files, the routes, the scopes and the examples, and, in
//! `bodies`, the readers of bodies.

mod bodies;
mod field_tables;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{env, fs};

use serde_json::{Value, json};

use super::*;
use crate::api::auth::{
    Administer, ManageDevices, ReadDevices, ReadEvents, ReadNotifications, RegisterDevice, Right,
    SendNotifications,
};
use crate::api::error::ProblemCode;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The document as JSON.
pub(in crate::api) fn document_json() -> Value {
    serde_json::from_str(&json()).expect("JSON")
}

pub(in crate::api) fn operations() -> Vec<(String, Value)> {
    let document = document_json();
    let paths = document["paths"].as_object().expect("paths").clone();
    let operations = paths.into_iter().flat_map(|(path, item)| {
        let item = item.as_object().expect("an item").clone();
        item.into_iter().map(move |(method, operation)| (format!("{method} {path}"), operation))
    });
    operations.collect()
}

/// The query parameters of an operation.
pub(in crate::api) fn query_parameters(operation_id: &str) -> BTreeSet<String> {
    let all = operations();
    let operation = all.iter().find(|(_, operation)| operation["operationId"] == operation_id);
    let parameters = operation.expect("the operation is there").1["parameters"].as_array().cloned();
    let query = parameters.into_iter().flatten().filter(|parameter| parameter["in"] == "query");
    query.map(|parameter| parameter["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn every_reference_leads_to_a_schema() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                let target = members.get("$ref").and_then(Value::as_str);
                found.extend(target.and_then(|target| target.strip_prefix('#')).map(str::to_owned));
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let (document, mut found) = (document_json(), BTreeSet::new());
    references(&document, &mut found);
    assert!(found.len() > 100, "{found:?}");
    let lost: Vec<_> = found.iter().filter(|target| document.pointer(target).is_none()).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

/// `make openapi` sets the variable.
#[test]
fn the_committed_document_is_up_to_date() {
    for (name, text) in [("docs/openapi.json", json()), ("docs/api_fields.md", field_tables::page())] {
        let path = root().join(name);
        if env::var_os("OPENAPI_WRITE").is_some() {
            fs::write(&path, &text).expect("docs/ can be written to");
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == text, "{name} is not what the code says: run make openapi and commit it");
    }
}

#[test]
fn every_operation_has_an_id_a_tag_security_and_its_problems() {
    let document = document_json();
    let mut ids = BTreeSet::new();
    let mut codes = BTreeSet::new();
    for (name, operation) in operations() {
        let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{name} has no id"));
        assert!(ids.insert(id.to_owned()), "{id} twice");
        assert!(operation["tags"][0].is_string() && operation["summary"].is_string(), "{name}");
        let is_public = operation["tags"][0] == "operation";
        assert_eq!(operation["security"][0] == json!({}), is_public, "{name}");
        let replies = operation["responses"].as_object().expect("responses");
        assert!(replies.keys().any(|status| status.starts_with('2')), "{name}");
        for (status, reply) in replies.iter().filter(|(status, _)| !status.starts_with('2')) {
            let examples = &reply["content"]["application/problem+json"]["examples"];
            for (code, example) in examples.as_object().unwrap_or_else(|| panic!("{name} {status}")) {
                let example =
                    example["$ref"].as_str().and_then(|to| document.pointer(to.trim_start_matches('#')));
                let example = example.unwrap_or_else(|| panic!("{name} {code}"));
                assert_eq!(example["value"]["status"].to_string(), *status, "{name} {code}");
                codes.insert(code.clone());
            }
        }
    }
    // The answer to operations that there are not; a part of the report of an import; an answer to pages.
    let elsewhere = [ProblemCode::MethodNotAllowed, ProblemCode::LineTooLarge, ProblemCode::CrossSite];
    let all = ProblemCode::ALL.iter().filter(|code| !elsewhere.contains(code));
    assert_eq!(codes, all.map(|code| code.as_str().to_owned()).collect());
}

/// Files with routes that are in no document, and how many.
const UNDOCUMENTED: &[(&str, usize)] = &[
    ("api/admin/mod.rs", 3),
    ("api/docs/mod.rs", 3),
    ("api/dashboard/mod.rs", 8),
    ("api/listener_router.rs", 2),
];

/// Routes are added by `routes!`, which takes them from the documented handlers. The other way is for names of lanes that
/// are written in two parts, for the pages for people, and for what these ask beside the API.
#[test]
fn every_route_is_documented() {
    for (path, text) in sources() {
        let undocumented = text.matches(".route(").count();
        let apart = UNDOCUMENTED.iter().find(|(file, _)| path.ends_with(file));
        let allowed = apart.map_or(0, |(_, count)| *count);
        assert_eq!(undocumented, allowed, "{path}: use .routes(routes!(…))");
    }
    let paths: BTreeSet<_> = operations().into_iter().map(|(name, _)| name).collect();
    assert!(paths.contains("post /v1/notifications") && paths.contains("get /openapi.json"), "{paths:?}");
}

#[test]
fn documented_scopes_are_those_that_the_handlers_ask_for() {
    let rights: BTreeMap<&str, &[crate::domain::Scope]> = BTreeMap::from([
        ("Administer", Administer::SCOPES),
        ("ManageDevices", ManageDevices::SCOPES),
        ("ReadDevices", ReadDevices::SCOPES),
        ("ReadEvents", ReadEvents::SCOPES),
        ("ReadNotifications", ReadNotifications::SCOPES),
        ("RegisterDevice", RegisterDevice::SCOPES),
        ("SendNotifications", SendNotifications::SCOPES),
    ]);
    let mut checked = 0;
    for (path, text) in sources() {
        for handler in text.split("#[utoipa::path(").skip(1) {
            let Some(security) = handler.split("security((\"key\" = [").nth(1) else { continue };
            let scopes = security.split(']').next().unwrap_or_default();
            let documented: Vec<_> = scopes.split(", ").map(|scope| scope.trim_matches('"')).collect();
            let right = handler.split("Caller<").nth(1).and_then(|right| right.split('>').next());
            let asked = rights[right.expect("a caller")].iter().map(|scope| scope.as_str());
            // `admin` is always enough, so it is listed only where nothing else is.
            let asked: Vec<_> = asked.filter(|scope| documented == ["admin"] || *scope != "admin").collect();
            assert_eq!(documented, asked, "{path}");
            checked += 1;
        }
    }
    assert_eq!(checked, operations().iter().filter(|(_, one)| one["tags"][0] != "operation").count());
}

#[test]
fn json_macros_build_examples_only() {
    for (path, text) in sources() {
        let built = text.matches("json!(").count() - text.matches("example = json!(").count();
        assert_eq!(built, 0, "{path} builds JSON without a type");
    }
}

/// The sources of the API, without their tests.
fn sources() -> Vec<(String, String)> {
    let mut folders = vec![root().join("src/api")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if !name.contains("tests") {
                let text = fs::read_to_string(&path).expect("UTF-8");
                let own = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
                sources.push((name, own));
            }
        }
    }
    sources
}

#[test]
fn examples_have_the_members_of_their_schemas() {
    let document = document_json();
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    let mut checked = 0;
    for (name, schema) in schemas {
        let Some(example) = schema["example"].as_object() else { continue };
        let properties = schema["properties"].as_object().expect("an object");
        for member in example.keys() {
            assert!(properties.contains_key(member), "{name} has no {member}");
        }
        for required in schema["required"].as_array().into_iter().flatten() {
            assert!(example.contains_key(required.as_str().expect("a name")), "{name} lacks {required}");
        }
        checked += 1;
    }
    assert!(checked > 12, "{checked}");
}

/// Of two types with one name, only one would be described.
#[test]
fn no_two_types_have_one_name_in_the_document() {
    let up_to = |text: &str| text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned();
    let mut names = Vec::new();
    for (path, text) in sources() {
        for derived in text.split("#[derive(").skip(1) {
            let (traits, item) = derived.split_once(")]").expect("a list of traits");
            let (attributes, item) = item.split_once("struct ").unwrap_or_default();
            if traits.contains("ToSchema") && !item.is_empty() {
                names.push(
                    attributes.split_once("(as = ").map_or_else(|| up_to(item), |(_, name)| up_to(name)),
                );
            }
        }
        names.extend(text.split("impl ToSchema for ").skip(1).map(up_to).filter(|name| !name.is_empty()));
        if path.ends_with("schema_enums.rs") {
            let lines = text.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(": "));
            names.extend(lines.map(|(name, _)| name.to_owned()).filter(|name| *name == up_to(name)));
        }
    }
    let unique: BTreeSet<_> = names.iter().collect();
    assert!(
        unique.contains(&"CleanupProblem".to_owned()) && unique.contains(&"Platform".to_owned()),
        "{unique:?}"
    );
    names.sort_unstable();
    let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

/// `scripts/openapi` validates the examples by their schemas.
#[test]
fn every_body_of_an_operation_has_an_example() {
    let mut checked = 0;
    for (name, operation) in operations() {
        let answers = operation["responses"].as_object().expect("responses").values();
        for body in answers.chain([&operation["requestBody"]]) {
            for (media_type, content) in body["content"].as_object().into_iter().flatten() {
                let has_example = ["example", "examples"].iter().any(|kind| content.get(kind).is_some());
                assert!(has_example, "{name} {media_type}: {content}");
                checked += 1;
            }
        }
    }
    assert!(checked > 100, "{checked}");
}
