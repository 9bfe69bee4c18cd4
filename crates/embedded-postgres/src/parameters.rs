//! The server's parameters. They are in a file of their own, which is written at each start and includes initdb's, so
//! that an upgrade of pushpost changes them; what a person sets with `ALTER SYSTEM` still wins.

use std::fs;
use std::path::Path;

use super::PORT;

const MEBI: u64 = 1 << 20;
/// Enough for the queue and the devices in use; more helps little while the system's cache stands behind it.
const BUFFERS_MEBI: u64 = 256;
/// The least that a small machine gets.
const BUFFERS_LEAST_MEBI: u64 = 32;

/// The text of `server.conf`, which lies beside the folder `data`.
///
/// `socket` has no character that would need an escape: its path is made in `socket`.
pub(super) fn text(socket: &Path, max_connections: u16) -> String {
    let buffers = shared_buffers_mebi(memory_bytes());
    let socket = socket.display();
    format!(
        "# Written by pushpost at each start. To change something: ALTER SYSTEM SET ... wins over this file.
include_if_exists 'data/postgresql.conf'

cluster_name = 'pushpost'
listen_addresses = ''
port = {PORT}
unix_socket_directories = '{socket}'
unix_socket_permissions = 0700
password_encryption = 'scram-sha-256'
max_connections = {max_connections}
shared_buffers = '{buffers}MB'

# What was answered with 202 survives a crash of anything.
fsync = on
synchronous_commit = on
full_page_writes = on
max_wal_size = '2GB'

# The queue leaves 600,000 dead rows a minute at full speed.
autovacuum = on
autovacuum_naptime = '5s'
# Short statements only; compiling them costs more than it saves.
jit = off

timezone = 'UTC'
log_timezone = 'UTC'
log_destination = 'stderr'
logging_collector = off
log_line_prefix = '%m [%p] '
log_checkpoints = off
# The details of an error quote rows, and so device tokens and contents.
log_error_verbosity = terse
log_parameter_max_length_on_error = 0
"
    )
}

fn shared_buffers_mebi(memory: Option<u64>) -> u64 {
    memory.map_or(BUFFERS_MEBI / 2, |bytes| (bytes / MEBI / 8).clamp(BUFFERS_LEAST_MEBI, BUFFERS_MEBI))
}

/// The memory of the machine or, if less, of this container. Unknown outside Linux.
fn memory_bytes() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let machine = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024;
    let container = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let container = container.and_then(|limit| limit.trim().parse().ok());
    Some(container.map_or(machine, |limit: u64| limit.min(machine)))
}

#[cfg(test)]
mod tests {
    use super::shared_buffers_mebi;

    #[test]
    fn small_machines_get_small_buffers() {
        let gibi = |n: u64| Some(n << 30);
        assert_eq!(shared_buffers_mebi(gibi(64)), 256);
        assert_eq!(shared_buffers_mebi(gibi(1)), 128);
        assert_eq!(shared_buffers_mebi(Some(100 << 20)), 32);
        assert_eq!(shared_buffers_mebi(None), 128);
    }
}
