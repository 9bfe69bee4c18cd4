//! The hosts of a database. New connections go to the host that was used last; if it can't be used, to the next one.

use std::sync::atomic::{AtomicUsize, Ordering};

use sqlx::postgres::PgConnectOptions;

/// One or more hosts of the same database.
#[derive(Debug)]
pub(super) struct DatabaseHosts {
    all: Vec<PgConnectOptions>,
    current: AtomicUsize,
}

impl DatabaseHosts {
    pub(super) fn new(all: Vec<PgConnectOptions>) -> Self {
        assert!(!all.is_empty(), "a database has a host");
        Self { all, current: AtomicUsize::new(0) }
    }

    /// The host for the next connection, and its place in the list for [`Self::skip`].
    pub(super) fn current(&self) -> (usize, &PgConnectOptions) {
        let place = self.current.load(Ordering::Relaxed) % self.all.len();
        (place, &self.all[place])
    }

    /// Makes the next host current, because the one in this place can't be used; unless another task has done so
    /// already.
    pub(super) fn skip(&self, place: usize) {
        let next = (place + 1) % self.all.len();
        let _moved_on = self.current.compare_exchange(place, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    pub(super) fn all(&self) -> &[PgConnectOptions] {
        &self.all
    }
}

/// Host and port of each server, or its socket, separated by commas: for messages.
pub fn addresses(hosts: &[PgConnectOptions]) -> String {
    hosts.iter().map(address).collect::<Vec<_>>().join(", ")
}

/// Host and port of a server, or its socket.
pub fn address(options: &PgConnectOptions) -> String {
    let (host, port) = (options.get_host(), options.get_port());
    match options.get_socket() {
        Some(folder) => folder.join(format!(".s.PGSQL.{port}")).display().to_string(),
        None if host.contains(':') => format!("[{host}]:{port}"),
        None => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tasks_that_skip_the_same_host_move_on_once() {
        let hosts =
            DatabaseHosts::new(vec![PgConnectOptions::new().host("a"), PgConnectOptions::new().host("b")]);
        let (place, first) = hosts.current();
        assert_eq!(first.get_host(), "a");
        hosts.skip(place);
        hosts.skip(place);
        let (place, second) = hosts.current();
        assert_eq!(second.get_host(), "b");
        hosts.skip(place);
        assert_eq!(hosts.current().1.get_host(), "a");
    }
}
