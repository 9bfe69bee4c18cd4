//! The OpenAPI 3.1 document. It is made of the routes and the types that handlers read and answer with, committed as
//! `docs/openapi.json` (`make openapi`) and served at `/openapi.json`.

mod examples;

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

use self::examples::add_examples;
use super::error::{NoKeyProblems, problem_examples};
use super::health::Health;
use super::problem::ProblemDocument;
use super::schema_enums;
use super::{State, Surface, documented_routes};
use crate::telemetry::metrics::Metrics;

static DOCUMENT: LazyLock<String> = LazyLock::new(json);

/// The route of the document.
pub(super) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(get))
}

/// Read this document
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "getOpenApi", tag = "operation", security(()),
    responses((status = 200, description = "The OpenAPI document.", body = Value, example = json!({"openapi": "3.1.0"})), NoKeyProblems)
)]
async fn get() -> Response {
    ([(CONTENT_TYPE, "application/json")], text()).into_response()
}

/// The document as it is served. Made at the first call.
pub(super) fn text() -> &'static str {
    &DOCUMENT
}

/// The document of the whole API.
pub fn document() -> OpenApi {
    let mut document =
        documented_routes(Arc::new(Health::default()), Metrics::new(), Surface::All).into_openapi();
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
    schemas.extend(schema_enums::schemas_of_parameters());
    components.schemas.extend(schemas);
    components.examples.extend(problem_examples());
    close_request_bodies(&mut document);
    add_examples(&mut document);
    document
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
        tag("events", "What has happened, in the order in which it became visible."),
        tag("admin", "What operators see and decide."),
        tag("operation", "Probes and this document; without a key."),
    ]
}

#[cfg(test)]
pub(in crate::api) mod tests;
