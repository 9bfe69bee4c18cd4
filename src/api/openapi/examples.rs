//! The examples of requests and answers. Each is made of the schema of the body, so no handler states one.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{ArrayItems, Object, SchemaType};
use utoipa::openapi::{Content, OpenApi, RefOr, Schema, Type};

type Schemas = BTreeMap<String, RefOr<Schema>>;

/// Gives each request and each answer of success the example of its schema.
pub(super) fn add_examples(document: &mut OpenApi) {
    let Some(components) = &document.components else { return };
    for item in document.paths.paths.values_mut() {
        let methods = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
        for operation in methods.into_iter().flatten() {
            for content in contents(operation) {
                let example =
                    content.schema.as_ref().and_then(|schema| example_of(&components.schemas, schema));
                content.example = content.example.take().or(example);
            }
        }
    }
}

/// The bodies of an operation, without those of problems, which have an example per code.
fn contents(operation: &mut Operation) -> impl Iterator<Item = &mut Content> {
    let request = operation.request_body.as_mut().and_then(inline).map(|body| body.content.values_mut());
    let answers = operation.responses.responses.iter_mut().filter(|(status, _)| status.starts_with('2'));
    let answers =
        answers.filter_map(|(_, answer)| inline(answer)).flat_map(|answer| answer.content.values_mut());
    request.into_iter().flatten().chain(answers).filter_map(inline)
}

fn inline<T>(part: &mut RefOr<T>) -> Option<&mut T> {
    match part {
        RefOr::T(part) => Some(part),
        RefOr::Ref(_) => None,
    }
}

/// The example of a schema: its own, or else one that is made of the examples of its parts.
fn example_of(schemas: &Schemas, schema: &RefOr<Schema>) -> Option<Value> {
    let schema = match schema {
        RefOr::T(schema) => schema,
        RefOr::Ref(reference) => {
            return example_of(schemas, schemas.get(reference.ref_location.rsplit('/').next()?)?);
        }
    };
    match schema {
        Schema::Object(object) => example_of_object(schemas, object),
        Schema::Array(array) => match &array.items {
            ArrayItems::RefOrSchema(item) => example_of(schemas, item).map(|item| Value::Array(vec![item])),
            ArrayItems::False => None,
        },
        Schema::OneOf(choice) => choice.items.iter().find_map(|one| example_of(schemas, one)),
        Schema::AnyOf(choice) => choice.items.iter().find_map(|one| example_of(schemas, one)),
        Schema::AllOf(parts) => {
            let mut members = Map::new();
            for part in &parts.items {
                members.extend(example_of(schemas, part)?.as_object()?.clone());
            }
            Some(Value::Object(members))
        }
        _ => None,
    }
}

/// An object without an example of its own gets its required members. A value that may be null is null.
fn example_of_object(schemas: &Schemas, object: &Object) -> Option<Value> {
    let stated = object.example.as_ref().or(object.examples.first());
    let stated = stated.or_else(|| object.enum_values.as_ref()?.first());
    if let Some(example) = stated {
        return Some(example.clone());
    }
    if matches!(&object.schema_type, SchemaType::Array(types) if types.contains(&Type::Null)) {
        return Some(Value::Null);
    }
    let required = object.properties.iter().filter(|(name, _)| object.required.contains(name));
    let members: Option<Map<_, _>> =
        required.map(|(name, member)| Some((name.clone(), example_of(schemas, member)?))).collect();
    members.filter(|members| !members.is_empty()).map(Value::Object)
}
