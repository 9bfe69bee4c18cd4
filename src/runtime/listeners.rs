//! The listeners of a node: which address serves which part of the API, with how many connections.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::Role;
use super::descriptors::ConnectionBudget;
use super::supervisor::Supervisor;
use crate::api::health::Health;
use crate::api::{self, ListenerRouter, Surface};
use crate::config::Config;
use crate::telemetry::metrics::Metrics;

/// The listeners of a node, which answer from the moment they are bound: health at once, the rest when the node works.
#[derive(Debug)]
pub(super) struct Listeners {
    /// The address of `/healthz` and `/readyz`, for every role.
    pub(super) health: SocketAddr,
    /// The address of the API; none for a worker.
    pub(super) api: Option<SocketAddr>,
    /// Limits of requests and connections.
    pub(super) limits: api::ApiLimits,
    /// Sets how many connections each listener may have.
    pub(super) connections: ConnectionLimits,
    routers: Vec<ListenerRouter>,
}

/// Sets how many connections each listener may have. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct ConnectionLimits {
    role: Role,
    listeners: Vec<(Surface, watch::Sender<usize>)>,
}

impl ConnectionLimits {
    /// Without a listener; [`Listeners::bind`] adds them.
    pub(super) fn new(role: Role) -> Self {
        Self { role, listeners: Vec::new() }
    }

    /// Distributes the process's file descriptors anew, for a configuration with more apps: their providers need
    /// descriptors too.
    pub(super) fn share(&self, config: &Config) {
        let connections = ConnectionBudget::share(config, self.role);
        for (surface, max) in &self.listeners {
            max.send_replace(connections.of(*surface));
        }
    }
}

impl Listeners {
    /// Binds the addresses. Called first in a start, so that an address that is taken is reported at once.
    ///
    /// # Errors
    /// An address can't be listened on.
    pub(super) async fn bind(
        config: &Config,
        role: Role,
        health: &Arc<Health>,
        metrics: &Arc<Metrics>,
        stage: &Supervisor,
    ) -> anyhow::Result<Self> {
        let (listen, internal) = (config.server.listen, config.server.internal_listen);
        let surfaces = match (role.has_api(), internal) {
            (true, Some(internal)) => vec![(listen, Surface::Public), (internal, Surface::Internal)],
            (true, None) => vec![(listen, Surface::All)],
            (false, Some(internal)) => vec![(internal, Surface::InternalHealth)],
            (false, None) => vec![(listen, Surface::Health)],
        };
        let mut bound = Vec::new();
        for (address, surface) in surfaces {
            let listener = TcpListener::bind(address).await.with_context(|| {
                format!("cannot listen on {address} (server.listen or server.internal_listen)")
            })?;
            let address = listener.local_addr().context("the listener has no address")?;
            bound.push((listener, address, surface));
        }
        let (first, last) = (bound[0].1, bound[bound.len() - 1].1);
        let api = role.has_api().then_some(first);
        let (shares, mut connections) = (ConnectionBudget::share(config, role), ConnectionLimits::new(role));
        let (limits, mut routers) = (limits(config), Vec::new());
        let origins = config.server.cors_origins.clone().into();
        for (listener, address, surface) in bound {
            match surface {
                Surface::All | Surface::Public => tracing::info!(%address, "listening on http://{address}"),
                Surface::Internal => tracing::info!(%address, "listening for operators on http://{address}"),
                Surface::Health | Surface::InternalHealth => {
                    tracing::info!(%address, "listening for health checks on http://{address}")
                }
            }
            let router = ListenerRouter::new(health, &origins, metrics, surface);
            let (served, stop) = (router.clone(), stage.stop.clone());
            let (max, max_now) = watch::channel(shares.of(surface));
            connections.listeners.push((surface, max));
            stage.spawn("API", async move {
                if let Err(error) = api::serve(listener, served, limits, max_now, stop).await {
                    tracing::error!(%error, "the API can't be served");
                }
            });
            routers.push(router);
        }
        Ok(Self { health: last, api, limits, connections, routers })
    }

    /// From now on all requests are answered, not only those for health.
    pub(super) fn open(&self, state: &api::State) {
        self.routers.iter().for_each(|router| router.open(state.clone()));
    }
}

fn limits(config: &Config) -> api::ApiLimits {
    api::ApiLimits {
        body_bytes: config.limits.body_bytes,
        targets: config.limits.targets,
        batch_items: config.limits.batch_items,
        drain: config.delivery.drain_timeout,
        keep_alive: config.server.keep_alive,
    }
}
