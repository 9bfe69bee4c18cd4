//! Puts a node together from the other modules, runs it, and shuts it down. Used by `cli` and the tests.
//!
//! [`Service::start`] reads nothing but its configuration, and binds its addresses first. [`Service::run`] ends in two
//! stages: first it takes nothing new and finishes what is in flight; then, after `delivery.drain_timeout` or at a
//! second signal, it ends at once, and the jobs that it still holds go to other nodes.

mod announce;
mod core;
mod database;
mod descriptors;
mod listeners;
mod node_figures;
mod postgres;
mod reload;
mod schema;
mod senders;
mod served;
mod service;
mod service_manager;
mod stages;
mod supervisor;
mod threads;
mod traces;

use tokio_util::sync::CancellationToken;

use crate::config::Config;

pub use announce::announce;
pub use database::Database;
pub use descriptors::{DescriptorNeed, descriptor_need, raise_descriptor_limit};
pub use postgres::PostgresUnusable;
pub use reload::{Reload, ReloadHandle};
pub use schema::{SchemaAccess, SchemaRefused};
pub use senders::proxy as provider_proxy;
pub use service::Service;
pub use service_manager::ServiceManager;

/// The name of this process among the nodes: its host and process id.
fn node_name() -> String {
    format!("{}-{}", hostname(), std::process::id())
}

/// What a node does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Answers requests, and sends to the providers.
    All,
    /// Answers requests only.
    Api,
    /// Sends to the providers only.
    Worker,
}

impl Role {
    /// The name of `--role`.
    fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Api => "api",
            Self::Worker => "worker",
        }
    }

    fn has_api(self) -> bool {
        matches!(self, Self::All | Self::Api)
    }

    fn has_lanes(self) -> bool {
        matches!(self, Self::All | Self::Worker)
    }
}

/// How a node is told to stop.
#[derive(Clone, Default, Debug)]
pub struct Shutdown {
    /// First stage: the node takes nothing new, and finishes what is in flight.
    pub drain: CancellationToken,
    /// Second stage: the node ends at once.
    pub abort: CancellationToken,
}

/// Runs a node until it is told to stop. Changes in what `reload` reads are applied meanwhile, and `manager` is told when
/// the node is ready and when it stops.
///
/// # Errors
/// The node can't start, or one of its tasks ended by itself.
pub async fn serve(
    config: Config,
    role: Role,
    shutdown: Shutdown,
    reload: Reload,
    manager: &ServiceManager,
) -> anyhow::Result<()> {
    let started = tokio::select! {
        started = Service::start_until(config, role, &shutdown.drain) => started?,
        () = shutdown.abort.cancelled() => return Ok(()),
    };
    let Some(service) = started else {
        tracing::info!("stopped before the start was done");
        return Ok(());
    };
    service.reload(reload);
    let health = service.health();
    tokio::select! {
        ended = service.run(shutdown) => ended,
        () = manager.follow(&health) => Ok(()),
    }
}

/// The host's name for the log and for the names of Postgres sessions: up to 64 printable ASCII characters.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.trim().chars().filter(char::is_ascii_graphic).take(64).collect();
    if name.is_empty() { "node".to_owned() } else { name }
}

/// Whether a start or a command failed because Postgres was not available, or another process used the data folder for
/// too long.
pub fn is_unavailable(error: &anyhow::Error) -> bool {
    let foreign = error.downcast_ref::<PostgresUnusable>();
    let embedded = error.downcast_ref::<pushpost_embedded_postgres::Error>();
    matches!(foreign, Some(PostgresUnusable::TimedOut { .. } | PostgresUnusable::Unavailable { .. }))
        || embedded.is_some_and(|error| error.has_timed_out())
}
