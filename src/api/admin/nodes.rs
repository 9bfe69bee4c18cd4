//! `GET /v1/admin/nodes`: the nodes of the installation, which all apps share.

use axum::response::{IntoResponse, Response};
use axum::{Json, extract};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::State;
use crate::api::auth::{Administer, Caller};
use crate::api::error::{ApiError, ListProblems};
use crate::api::query::Parameters;
use crate::api::schema_enums;
use crate::api::time::Timestamp;
use crate::store;
use crate::store::nodes::ListedNode;

/// A node: a process that answers requests, sends, or both.
#[derive(Serialize, ToSchema, Debug)]
#[schema(example = json!({
    "node": 7, "name": "push-1-4711", "version": "0.1.0", "role": "all", "started_at": "2026-11-28T09:00:00.000Z",
    "heartbeat_age_seconds": 1.2, "leader": true, "draining": false, "dead_at": null
}))]
pub(in crate::api) struct Node {
    /// The node's number. A process that was declared dead, and lives, gets another one.
    node: i32,
    /// The host and the process id.
    name: String,
    /// The version of its program.
    version: String,
    /// What it does.
    #[schema(value_type = schema_enums::NodeRole)]
    role: String,
    /// When it registered.
    started_at: Timestamp,
    /// Seconds since its last heartbeat. A living node has one at least every fifth of `delivery.node_timeout`.
    heartbeat_age_seconds: f64,
    /// Whether it runs the periodic duties.
    leader: bool,
    /// Whether it shuts down: it takes nothing new and finishes what is in flight.
    draining: bool,
    /// When other nodes declared it dead; null: it lives.
    #[schema(required)]
    dead_at: Option<Timestamp>,
}

/// The nodes of the installation.
#[derive(Serialize, ToSchema, Debug)]
pub(super) struct NodeList {
    /// The nodes, in the order of their numbers.
    items: Vec<Node>,
    /// Always null: all nodes are on one page.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// List nodes
///
/// Every living node, and those that other nodes declared dead within the last day, until a node starts on the same host. A
/// node that was shut down is not listed.
#[utoipa::path(
    get, path = "/v1/admin/nodes", operation_id = "listNodes", tag = "admin",
    security(("key" = ["admin"])),
    responses((status = 200, description = "All nodes.", body = NodeList), ListProblems)
)]
pub(super) async fn list(
    extract::State(state): extract::State<State>,
    _caller: Caller<Administer>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    parameters.finish()?;
    let mut conn = state.pool.acquire().await.map_err(store::Error::from)?;
    let items = store::nodes::list(&mut conn).await?.iter().map(Node::from).collect();
    Ok(Json(NodeList { items, next_cursor: None }).into_response())
}

impl From<&ListedNode> for Node {
    fn from(node: &ListedNode) -> Self {
        Self {
            node: node.node.0,
            name: node.name.clone(),
            version: node.version.clone(),
            role: node.role.clone(),
            started_at: Timestamp(node.started_at),
            heartbeat_age_seconds: (node.heartbeat_age_seconds.max(0.0) * 10.0).round() / 10.0,
            leader: node.leads,
            draining: node.is_draining,
            dead_at: node.dead_at.map(Timestamp),
        }
    }
}
