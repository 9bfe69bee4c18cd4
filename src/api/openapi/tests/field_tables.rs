//! `docs/api_fields.md`: the document as tables for people. `make openapi` writes it together with the document.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

use super::document_json;

/// An enumeration with more values gets a section of its own.
const INLINE_VALUES_MAX: usize = 9;

const HEAD: &str = "# Fields of the API

For developers who look up a field: each operation with its parameters, request, answer and problems. [api.md](api.md) explains what the operations
are for. This page and [openapi.json](openapi.json) are generated from the types of the code by `make openapi`.

Every operation with a key also takes keys of the scope `admin`. A field with the type `… or null` may be `null`. In a request that is the same as a field
left out, unless its description says what `null` does. An answer may get new fields.
";

/// The page with all tables, as it is committed.
pub(super) fn page() -> String {
    let document = Document::new(document_json());
    let mut page = HEAD.to_owned();
    document.write_contents(&mut page);
    for tag in document.json["tags"].as_array().expect("tags") {
        let name = text(&tag["name"]);
        write!(page, "\n## {}\n\n{}\n", capitalized(name), text(&tag["description"])).expect("a string");
        for (path, method, operation) in document.operations_of(name) {
            document.write_operation(path, method, operation, &mut page);
        }
    }
    page += "\n## Objects\n\nObjects that several operations have, or that are parts of others.\n";
    for (name, schema) in document.schemas() {
        if document.sections.contains(name) {
            write!(page, "\n### {name}\n").expect("a string");
            if let Some(description) = schema["description"].as_str() {
                write!(page, "\n{}\n", one_line(description)).expect("a string");
            }
            document.write_fields(schema, &mut page);
        }
    }
    page
}

struct Document {
    json: Value,
    /// The schemas that are described in sections of their own. Others are described where they are used.
    sections: BTreeSet<String>,
}

impl Document {
    fn new(json: Value) -> Self {
        let uses = |part: &Value, name: &str| {
            part.to_string().matches(&format!("\"#/components/schemas/{name}\"")).count()
        };
        let schemas = json["components"]["schemas"].as_object().expect("schemas").iter();
        let in_sections = schemas.filter(|(name, schema)| {
            let kinds = ["properties", "oneOf", "allOf", "enum"];
            kinds.iter().any(|kind| schema.get(kind).is_some())
                && schema["enum"].as_array().is_none_or(|values| values.len() > INLINE_VALUES_MAX)
                && (uses(&json["components"], name) > 0 || uses(&json["paths"], name) > 1)
        });
        let sections = in_sections.map(|(name, _)| name.clone()).collect();
        Self { json, sections }
    }

    fn schemas(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.json["components"]["schemas"].as_object().expect("schemas").iter()
    }

    /// Path, method and operation of each operation with a tag.
    fn operations_of(&self, tag: &str) -> impl Iterator<Item = (&str, &str, &Value)> {
        let items = self.json["paths"].as_object().expect("paths").iter();
        let operations = items.flat_map(|(path, item)| {
            let methods = item.as_object().expect("an item").iter();
            methods.map(|(method, operation)| (path.as_str(), method.as_str(), operation))
        });
        operations.filter(move |one| one.2["tags"][0] == tag)
    }

    /// The schema that a reference leads to, with its name.
    fn target(&self, schema: &Value) -> Option<(&str, &Value)> {
        let name = schema["$ref"].as_str()?.strip_prefix("#/components/schemas/")?;
        self.schemas().find(|(known, _)| *known == name).map(|(name, schema)| (name.as_str(), schema))
    }

    fn write_contents(&self, page: &mut String) {
        page.push_str("\n| request | operation |\n|---|---|\n");
        let tags = self.json["tags"].as_array().expect("tags").iter();
        let operations = tags.flat_map(|tag| self.operations_of(text(&tag["name"])));
        for (path, method, operation) in operations {
            let summary = text(&operation["summary"]);
            writeln!(page, "| `{} {path}` | [{summary}](#{}) |", method.to_uppercase(), anchor(summary))
                .expect("a string");
        }
    }

    fn write_operation(&self, path: &str, method: &str, operation: &Value, page: &mut String) {
        let scopes: Vec<_> =
            operation["security"][0]["key"].as_array().into_iter().flatten().map(text).map(code).collect();
        let scopes =
            if scopes.is_empty() { "no key".to_owned() } else { format!("scope {}", scopes.join(" or ")) };
        write!(
            page,
            "\n### {}\n\n`{} {path}`, {scopes}.",
            text(&operation["summary"]),
            method.to_uppercase()
        )
        .expect("a string");
        if let Some(description) = operation["description"].as_str() {
            write!(page, " {}", one_line(description)).expect("a string");
        }
        page.push('\n');
        if let Some(parameters) = operation["parameters"].as_array() {
            let row = |one: &Value| {
                let name = format!("`{}` ({})", text(&one["name"]), text(&one["in"]));
                self.row(&name, &one["schema"], text(&one["description"]), one["required"] == true)
            };
            page.push_str("\n| parameter | type | required | meaning |\n|---|---|---|---|\n");
            parameters.iter().for_each(|one| page.push_str(&row(one)));
        }
        let request = &operation["requestBody"];
        for (media_type, content) in request["content"].as_object().into_iter().flatten() {
            self.write_body(&format!("Request, `{media_type}`"), &content["schema"], page);
            if let Some(description) = request["description"].as_str() {
                write!(page, "\n{}\n", one_line(description)).expect("a string");
            }
        }
        let mut problems = BTreeMap::new();
        for (status, answer) in operation["responses"].as_object().expect("responses") {
            match status.starts_with('2') {
                true => self.write_answer(status, answer, page),
                false => _ = problems.insert(status, codes(answer)),
            }
        }
        let problems = problems.into_iter().map(|(status, codes)| format!("{status} {codes}"));
        write!(page, "\n**Problems**: {}\n", problems.collect::<Vec<_>>().join("; ")).expect("a string");
    }

    fn write_answer(&self, status: &str, answer: &Value, page: &mut String) {
        let title = format!("Answer {status}");
        let contents = answer["content"].as_object();
        for (media_type, content) in contents.into_iter().flatten() {
            self.write_body(&format!("{title}, `{media_type}`"), &content["schema"], page);
        }
        if contents.is_none() {
            write!(page, "\n**{title}**, without a body: {}\n", text(&answer["description"]))
                .expect("a string");
        }
        let headers = answer["headers"].as_object().into_iter().flatten();
        let headers =
            headers.map(|(name, header)| format!("- Header `{name}`: {}\n", text(&header["description"])));
        let headers: String = headers.collect();
        if !headers.is_empty() {
            write!(page, "\n{headers}").expect("a string");
        }
    }

    /// A body: a link to its schema, or the schema's fields.
    fn write_body(&self, title: &str, schema: &Value, page: &mut String) {
        match self.target(schema) {
            Some((name, target)) if !self.sections.contains(name) => {
                write!(page, "\n**{title}**: {}\n", one_line(text(&target["description"])))
                    .expect("a string");
                self.write_fields(target, page);
            }
            _ => write!(page, "\n**{title}**: {}\n", self.type_of(schema)).expect("a string"),
        }
    }

    /// The table of a schema's fields, or the schemas or values that it is a choice of.
    fn write_fields(&self, schema: &Value, page: &mut String) {
        page.push('\n');
        if let Some(values) = schema["enum"].as_array() {
            let values: Vec<_> = values.iter().map(text).map(code).collect();
            return writeln!(page, "One of {}.", values.join(", ")).expect("a string");
        }
        let of = ["oneOf", "allOf"].into_iter().find_map(|kind| Some((kind, schema[kind].as_array()?)));
        let Some((kind, parts)) = of else {
            // Requests may have no other fields, answers may.
            let required = if schema["additionalProperties"] == false { "required" } else { "always" };
            write!(page, "| field | type | {required} | meaning |\n|---|---|---|---|\n").expect("a string");
            return page.push_str(&self.rows("", schema));
        };
        for part in parts {
            match self.target(part) {
                Some(_) => {
                    let meaning = part["description"].as_str().unwrap_or("All fields of it.");
                    writeln!(page, "- {}: {meaning}", self.type_of(part)).expect("a string");
                }
                None => {
                    assert_eq!(kind, "allOf", "an unnamed schema in a choice: {part}");
                    self.write_fields(part, page);
                }
            }
        }
    }

    /// The rows of an object's fields. Those of an object without a name follow, after the name of their field.
    fn rows(&self, prefix: &str, schema: &Value) -> String {
        let mut rows = String::new();
        let required = schema["required"].as_array();
        for (name, field) in schema["properties"].as_object().unwrap_or_else(|| panic!("{prefix}: {schema}"))
        {
            let is_required = required.is_some_and(|names| names.iter().any(|one| one == name));
            rows += &self.row(&format!("`{prefix}{name}`"), field, description(field), is_required);
            if field["items"]["properties"].is_object() {
                rows += &self.rows(&format!("{prefix}{name}[]."), &field["items"]);
            }
        }
        rows
    }

    fn row(&self, name: &str, schema: &Value, meaning: &str, is_required: bool) -> String {
        assert!(!meaning.is_empty(), "the field {name} has no description: {schema}");
        let mut limits = Vec::new();
        self.limits(schema, &mut limits);
        let limits = limits.iter().map(|limit| format!(" {limit}.")).collect::<String>();
        let required = if is_required { "yes" } else { "" };
        format!(
            "| {name} | {} | {required} | {}{limits} |\n",
            self.type_of(schema),
            one_line(meaning).replace('|', "\\|")
        )
    }

    fn type_of(&self, schema: &Value) -> String {
        if let Some((name, target)) = self.target(schema) {
            return match self.sections.contains(name) {
                true => format!("[{name}](#{})", anchor(name)),
                false => self.type_of(target),
            };
        }
        if let Some(choice) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
            return choice.iter().map(|one| self.type_of(one)).collect::<Vec<_>>().join(" or ");
        }
        let names = match &schema["type"] {
            Value::String(_) => vec![&schema["type"]],
            Value::Array(names) => names.iter().collect(),
            _ => return "any".to_owned(),
        };
        let shown = names.into_iter().map(|name| match text(name) {
            "array" if schema["items"]["properties"].is_object() => "array of objects".to_owned(),
            "array" => format!("array of {}", self.type_of(&schema["items"])),
            "object" if schema["additionalProperties"]["type"].is_string() => {
                format!("object of {}", self.type_of(&schema["additionalProperties"]))
            }
            "string" if schema["format"] == "date-time" => "time".to_owned(),
            other => other.to_owned(),
        });
        shown.collect::<Vec<_>>().join(" or ")
    }

    /// What a schema, and the schemas without sections in it, say about values.
    fn limits(&self, schema: &Value, into: &mut Vec<String>) {
        if let Some((name, target)) = self.target(schema) {
            if !self.sections.contains(name) {
                self.limits(target, into);
            }
            return;
        }
        schema["oneOf"].as_array().into_iter().flatten().for_each(|one| self.limits(one, into));
        if let Some(values) = schema["enum"].as_array() {
            let values: Vec<_> = values.iter().map(text).map(code).collect();
            into.push(format!("One of {}", values.join(", ")));
        }
        let bounds = [
            ("minimum", "maximum", ""),
            ("minLength", "maxLength", " characters"),
            ("minItems", "maxItems", " items"),
            ("minProperties", "maxProperties", " fields"),
        ];
        for (least, greatest, unit) in bounds {
            // That a count is not negative needs no words.
            match (schema[least].as_u64().filter(|least| *least > 0), schema[greatest].as_u64()) {
                (Some(least), Some(greatest)) => into.push(format!("{least} to {greatest}{unit}")),
                (Some(least), None) => into.push(format!("At least {least}{unit}")),
                (None, Some(greatest)) => into.push(format!("At most {greatest}{unit}")),
                (None, None) => {}
            }
        }
        if let Some(pattern) = schema["pattern"].as_str() {
            into.push(format!("Matches `{}`", pattern.replace('|', "\\|")));
        }
        if let Some(default) = schema.get("default") {
            into.push(format!("Default `{default}`"));
        }
        if schema["items"].is_object() && !schema["items"]["properties"].is_object() {
            self.limits(&schema["items"], into);
        }
    }
}

/// A field's description. utoipa puts that of a field with a named type, which may be null, into the choice.
fn description(field: &Value) -> &str {
    let own = field["description"].as_str();
    own.or_else(|| field["oneOf"][0]["description"].as_str()).unwrap_or_default()
}

fn codes(answer: &Value) -> String {
    let examples = answer["content"]["application/problem+json"]["examples"].as_object().expect("a problem");
    let links = examples.keys().map(|code| format!("[`{code}`](errors.md#{code})"));
    links.collect::<Vec<_>>().join(", ")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn code(word: &str) -> String {
    format!("`{word}`")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn capitalized(word: &str) -> String {
    let (first, rest) = word.split_at(1);
    first.to_uppercase() + rest
}

/// The anchor of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || *c == '-').collect()
}
