//! The OpenAPI 3.1 document. It is made of the routes and the types that handlers read and answer with, committed as
//! `docs/openapi.json` (`make openapi`) and served at `/openapi.json`.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use serde::Serialize;
use serde_json::Value;
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Info, InfoBuilder, OpenApi, RefOr, Schema, Server, Tag};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{NoKeyProblems, problem_examples};
use super::health::Health;
use super::problem::ProblemDocument;
use super::{State, Surface, documented_routes};

static DOCUMENT: LazyLock<String> = LazyLock::new(json);

/// The route of the document.
pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(get))
}

/// Read this document
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "getOpenApi", tag = "operation", security(()),
    responses((status = 200, description = "The OpenAPI document.", body = Value), NoKeyProblems)
)]
async fn get() -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}

/// The document of the whole API.
pub fn document() -> OpenApi {
    let mut document = documented_routes(Arc::new(Health::default()), Surface::All).into_openapi();
    document.info = info();
    document.tags = Some(tags());
    document.servers = Some(vec![Server::new("/")]);
    let key = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A key made by `pushpost keys create`. Operations list the scopes of which one is enough; `admin` is always."))
        .build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("key", SecurityScheme::Http(key));
    let mut schemas = vec![(ProblemDocument::name().into_owned(), ProblemDocument::schema())];
    ProblemDocument::schemas(&mut schemas);
    components.schemas.extend(schemas);
    components.examples.extend(problem_examples());
    add_examples_of_lists(&mut components.schemas);
    close_request_bodies(&mut document);
    document
}

/// A list's example has the example of its items.
fn add_examples_of_lists(schemas: &mut BTreeMap<String, RefOr<Schema>>) {
    let mut examples = BTreeMap::new();
    for (name, schema) in schemas.iter() {
        let RefOr::T(Schema::Object(list)) = schema else { continue };
        let items = list.properties.get("items").map(references).unwrap_or_default();
        let item = items.first().map(|item| example_of(schemas, item));
        if let (None, Some(item)) = (&list.example, item) {
            let cursor = list.properties.contains_key("next_cursor").then_some(("next_cursor", Value::Null));
            let members = [("items", Value::Array(vec![item]))].into_iter().chain(cursor);
            let members = members.map(|(name, value)| (name.to_owned(), value)).collect();
            examples.insert(name.clone(), Value::Object(members));
        }
    }
    for (name, example) in examples {
        if let Some(RefOr::T(Schema::Object(list))) = schemas.get_mut(&name) {
            list.example = Some(example);
        }
    }
}

/// The example of a schema, or of the first that it is a choice of.
fn example_of(schemas: &BTreeMap<String, RefOr<Schema>>, name: &str) -> Value {
    match schemas.get(name) {
        Some(RefOr::T(Schema::Object(object))) => object.example.clone().unwrap_or_default(),
        Some(schema) => references(schema).first().map_or(Value::Null, |first| example_of(schemas, first)),
        None => Value::Null,
    }
}

/// Requests may have no members but those of their schemas; answers may gain members.
fn close_request_bodies(document: &mut OpenApi) {
    let items = document.paths.paths.values();
    let operations = items.flat_map(|item| [&item.put, &item.post, &item.patch]).flatten();
    let mut open: Vec<String> =
        operations.flat_map(|operation| references(&operation.request_body)).collect();
    let Some(components) = &mut document.components else { return };
    while let Some(name) = open.pop() {
        let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(&name) else { continue };
        if object.additional_properties.is_none() {
            object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
            open.extend(references(&object.properties));
        }
    }
}

/// The names of the schemas that a part of the document refers to.
fn references(part: &impl Serialize) -> Vec<String> {
    let mut names = Vec::new();
    let mut values = vec![serde_json::to_value(part).expect("the document is always writable")];
    while let Some(value) = values.pop() {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let target =
                        value.as_str().and_then(|target| target.strip_prefix("#/components/schemas/"));
                    match target.filter(|_| name == "$ref") {
                        Some(target) => names.push(target.to_owned()),
                        None => values.push(value),
                    }
                }
            }
            Value::Array(items) => values.extend(items),
            _ => {}
        }
    }
    names
}

/// The document as it is served and committed.
pub fn json() -> String {
    let mut json = document().to_pretty_json().expect("the document is always writable");
    json.push('\n');
    json
}

fn info() -> Info {
    InfoBuilder::new()
        .title("Pushpost")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Mobile push notifications through APNs and FCM. A key belongs to one app; nothing in a request names an app, and \
             what belongs to another app is answered like what does not exist.",
        ))
        .build()
}

fn tags() -> Vec<Tag> {
    let tag = |name: &str, description: &str| {
        let mut tag = Tag::new(name);
        tag.description = Some(description.to_owned());
        tag
    };
    vec![
        tag("notifications", "Sending notifications, their status and their deliveries."),
        tag("devices", "Registering, looking up and changing devices."),
        tag("topics", "Subscribing devices and users to topics, listing and deleting topics."),
        tag("users", "What a user has."),
        tag("admin", "What operators see and decide."),
        tag("operation", "Probes and this document; without a key."),
    ]
}

#[cfg(test)]
pub(in crate::api) mod tests;
