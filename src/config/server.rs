//! `[server]`: addresses, proxies and browsers in front of the API, and how often the configuration is reloaded.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::domain::{Network, Origin};
use crate::settings::Section;

/// The settings of the section `[server]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerSettings {
    /// Address of the API. Port 0: a free one.
    pub listen: SocketAddr,
    /// When set, `/v1/admin` and `/openapi.json` are served only on this address.
    pub internal_listen: Option<SocketAddr>,
    /// Between two checks whether the configuration or a file that it names has changed.
    pub reload_interval: Duration,
    /// Proxies with an `X-Forwarded-For` that is believed.
    pub trusted_proxies: Vec<Network>,
    /// Origins of web pages that may make the calls of a `register` key.
    pub cors_origins: Vec<Origin>,
    /// How long a client's connection is kept open after its last answer.
    pub keep_alive: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            internal_listen: None,
            reload_interval: Duration::from_secs(15),
            trusted_proxies: Vec::new(),
            cors_origins: Vec::new(),
            keep_alive: Duration::from_secs(75),
        }
    }
}

impl ServerSettings {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        const DAY: Duration = Duration::from_secs(86_400);
        let default = Self::default();
        let settings = Self {
            listen: section.parsed("listen", address).unwrap_or(default.listen),
            internal_listen: section.parsed("internal_listen", address),
            reload_interval: section.duration(
                "reload_interval",
                Duration::from_millis(100)..=365 * DAY,
                default.reload_interval,
            ),
            trusted_proxies: section.parsed_list("trusted_proxies", Network::parse).unwrap_or_default(),
            cors_origins: section.parsed_list("cors_origins", Origin::parse).unwrap_or_default(),
            keep_alive: section.duration("keep_alive", Duration::from_secs(1)..=DAY, default.keep_alive),
        };
        if settings
            .internal_listen
            .is_some_and(|internal| internal == settings.listen && internal.port() != 0)
        {
            section.fault("internal_listen", "must differ from server.listen");
        }
        section.finish();
        settings
    }

    /// The address at which a process on this machine reaches `/healthz` and `/readyz`, for every role.
    pub fn health_address(&self) -> SocketAddr {
        let address = self.internal_listen.unwrap_or(self.listen);
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
            ip => ip,
        };
        SocketAddr::new(ip, address.port())
    }
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "must be an IP address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"")
}
