//! Where requests come in.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::TcpListener;

use super::supervisor::Supervisor;
use crate::api::{self, Surface};
use crate::config::Config;

/// Answers requests until the stage stops.
pub(super) fn serve(listener: TcpListener, state: api::State, surface: Surface, stage: &Supervisor) {
    let stop = stage.stop.clone();
    stage.spawn("API", async move {
        if let Err(error) = api::serve(listener, state, surface, stop).await {
            tracing::error!(%error, "the API can't be served");
        }
    });
}

/// Where requests come in.
pub(super) struct Listeners {
    /// Clients'.
    pub(super) public: TcpListener,
    /// Operators' own, where the configuration has one.
    pub(super) internal: Option<TcpListener>,
}

impl Listeners {
    /// Binds at once, so that an address that is taken is told before anything else is done.
    ///
    /// # Errors
    /// An address can't be listened on.
    pub(super) async fn bind(config: &Config) -> anyhow::Result<Self> {
        let bind = async |address: SocketAddr| {
            TcpListener::bind(address).await.with_context(|| format!("can't listen on {address}"))
        };
        let public = bind(config.server.listen).await?;
        let internal = match config.server.internal_listen {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        Ok(Self { public, internal })
    }
}
