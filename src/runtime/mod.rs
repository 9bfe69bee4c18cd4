//! The composition root and the two-stage shutdown.

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::config::Config;

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

/// How a node is told to stop.
#[derive(Clone, Default, Debug)]
pub struct Shutdown {
    /// First: takes nothing new and finishes what is in flight.
    pub drain: CancellationToken,
    /// Then: lets go at once.
    pub abort: CancellationToken,
}

/// An open database, with the embedded Postgres where none is configured.
#[derive(Debug)]
pub struct Database;

impl Database {
    /// Connects, and starts the embedded Postgres first if there is no `database.url`.
    pub async fn open(_config: &Config) -> anyhow::Result<Self> {
        anyhow::bail!("STUB: runtime::Database")
    }

    /// Its connections.
    pub fn pool(&self) -> &PgPool {
        unreachable!("never opened")
    }

    /// Applies what is pending and tells the names of what it applied.
    pub async fn migrate(&self) -> anyhow::Result<Vec<String>> {
        anyhow::bail!("STUB: runtime::Database")
    }

    /// The names of the migrations that are pending.
    pub async fn pending_migrations(&self) -> anyhow::Result<Vec<String>> {
        anyhow::bail!("STUB: runtime::Database")
    }

    /// Lets go; the embedded Postgres stops unless another process uses it.
    pub async fn close(self) -> anyhow::Result<()> {
        anyhow::bail!("STUB: runtime::Database")
    }
}

/// Runs a node until it is told to stop.
pub async fn serve(_config: Config, _role: Role, _shutdown: Shutdown) -> anyhow::Result<()> {
    anyhow::bail!("STUB: runtime::serve")
}
