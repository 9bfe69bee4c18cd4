//! Raises the limit of file descriptors at the start of a service, and distributes them.
//!
//! Every connection and every open file takes a descriptor. A process without free ones can't accept clients, connect
//! to Postgres or read its configuration. So Postgres, the providers and files come first, and clients get the rest.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Role, database, senders};
use crate::api::Surface;
use crate::config::Config;

/// Descriptors for listeners, the log, timers, signals, and files that are read for a short time.
const FILES: usize = 32;
/// Connections of clients at most, because each takes up to 20 KB of memory.
const CLIENTS_MAX: usize = 16_384;
/// Connections of clients at least, even if Postgres and the providers may then run short.
const CLIENTS_MIN: usize = 8;
/// Connections on the operators' listener at most.
const INTERNAL_MAX: usize = 64;

/// How many connections each listener may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ConnectionBudget {
    clients: usize,
    internal: usize,
}

/// Raises the process's limit of open files to the highest value allowed. To be called once, at the start of the
/// process.
pub fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, limit = limit.current, "limit of open files can't be raised");
    }
}

/// File descriptors that a service with a configuration needs, for `pushpost doctor`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DescriptorNeed {
    /// To how many a process that is started here may raise its limit. None: there is no limit.
    pub limit: Option<u64>,
    /// Those for Postgres, providers, files and the fewest clients.
    pub needed: u64,
}

/// What a service with this configuration needs, in the role that needs most.
pub fn descriptor_need(config: &Config) -> DescriptorNeed {
    let needed = u64::try_from(others(config, Role::All) + CLIENTS_MIN).unwrap_or(u64::MAX);
    DescriptorNeed { limit: getrlimit(Resource::Nofile).maximum, needed }
}

impl ConnectionBudget {
    /// Distributes the descriptors of the process, and warns if there are few.
    pub(super) fn share(config: &Config, role: Role) -> Self {
        // Without a limit of the system, CLIENTS_MAX applies.
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let others = others(config, role);
        let clients = clients(limit, others);
        if clients <= CLIENTS_MIN {
            tracing::warn!(
                limit,
                needed = others + 2 * CLIENTS_MIN,
                hint = "raise the limit (ulimit -n, LimitNOFILE in systemd, --ulimit nofile in Docker)",
                "the limit of open files is low: few clients can be connected at a time"
            );
        }
        match config.server.internal_listen {
            None => Self { clients, internal: clients.min(INTERNAL_MAX) },
            Some(_) => {
                let internal = (clients / 4).clamp(1, INTERNAL_MAX);
                Self { clients: clients - internal, internal }
            }
        }
    }

    /// Connections at most on the listener of a surface.
    pub(super) fn of(self, surface: Surface) -> usize {
        match surface {
            Surface::All | Surface::Public => self.clients,
            Surface::Internal | Surface::Health | Surface::InternalHealth => self.internal,
        }
    }
}

fn others(config: &Config, role: Role) -> usize {
    let postgres = database::connections_max(&config.database) as usize;
    let providers = if role.has_lanes() { senders::connections_max(config) } else { 0 };
    postgres + providers + FILES
}

fn clients(limit: u64, others: usize) -> usize {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    limit.saturating_sub(others).clamp(CLIENTS_MIN, CLIENTS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_the_descriptors_that_others_leave() {
        assert_eq!(clients(1_024, 78), 946);
        assert_eq!(clients(96, 78), 18);
        assert_eq!(clients(64, 78), CLIENTS_MIN);
        assert_eq!(clients(u64::MAX, 78), CLIENTS_MAX);
    }

    #[test]
    fn others_are_postgres_and_files_and_for_a_sender_the_providers() {
        let config = Config::default();
        assert_eq!(others(&config, Role::Api), 16 + FILES);
        assert_eq!(others(&config, Role::All), 16 + FILES, "no app, no provider");
    }
}
