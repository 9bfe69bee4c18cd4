//! The composition root and the two-stage shutdown.
//!
//! [`Service::start`] reads nothing but its configuration and binds eagerly; it returns a value that knows its address.
//! [`Service::run`] ends when told to: first it takes nothing new and finishes what is in flight, then, after the
//! drain time or at a second signal, it lets go; whatever it still holds is the others' at once.

mod announce;
mod core;
mod database;
mod descriptors;
mod listeners;
mod postgres;
mod reload;
mod schema;
mod senders;
mod served;
mod service;
mod supervisor;
mod threads;

use tokio_util::sync::CancellationToken;

use crate::config::Config;

pub use announce::announce;
pub use database::Database;
pub use descriptors::raise_descriptor_limit;
pub use postgres::PostgresUnusable;
pub use reload::{Reload, ReloadHandle};
pub use schema::{SchemaAccess, SchemaRefused};
pub use service::Service;

/// What a node does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Answers requests and sends.
    All,
    /// Answers requests.
    Api,
    /// Sends.
    Worker,
}

impl Role {
    /// As on the command line.
    fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Api => "api",
            Self::Worker => "worker",
        }
    }

    fn answers(self) -> bool {
        matches!(self, Self::All | Self::Api)
    }

    fn sends(self) -> bool {
        matches!(self, Self::All | Self::Worker)
    }
}

/// How a node is told to stop.
#[derive(Clone, Default, Debug)]
pub struct Shutdown {
    /// First: takes nothing new and finishes what is in flight.
    pub drain: CancellationToken,
    /// Then: lets go at once.
    pub abort: CancellationToken,
}

/// Runs a node until it is told to stop. What `reload` reads may change meanwhile.
///
/// # Errors
/// It can't start, or a part of it died.
pub async fn serve(config: Config, role: Role, shutdown: Shutdown, reload: Reload) -> anyhow::Result<()> {
    let started = tokio::select! {
        started = Service::start_until(config, role, &shutdown.drain) => started?,
        () = shutdown.abort.cancelled() => return Ok(()),
    };
    let Some(service) = started else {
        tracing::info!("stopped before the start was done");
        return Ok(());
    };
    service.reload(reload);
    service.run(shutdown).await
}

/// For the log, and for sessions of Postgres.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.trim().chars().filter(char::is_ascii_graphic).take(64).collect();
    if name.is_empty() { "node".to_owned() } else { name }
}

/// Did a start end because Postgres, or another user of the data folder, kept it waiting for too long?
pub fn has_timed_out(error: &anyhow::Error) -> bool {
    let foreign = error.downcast_ref::<PostgresUnusable>();
    let embedded = error.downcast_ref::<pushpost_embedded_postgres::Error>();
    matches!(foreign, Some(PostgresUnusable::TimedOut { .. }))
        || embedded.is_some_and(|error| error.has_timed_out())
}
