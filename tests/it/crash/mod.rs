//! Crashes: the real binary and its embedded Postgres, killed while sending and started again, against the simulator in this
//! process. Each test has a data folder, a port and providers of its own.

mod attempts_in_doubt;
mod cancelled;
mod cleanups;
mod container;
mod containers;
mod erasure;
pub(crate) mod event_readers;
pub(crate) mod events;
mod failover;
mod first_lines;
mod history;
mod idle_streams;
mod images;
mod keys;
mod leader;
pub(crate) mod memory;
mod node_killed;
pub(crate) mod own_server;
mod poison;
mod postgres_killed;
mod root_folder;
mod schema;
mod sequencer;
mod service_killed;
mod sighup;
mod terminated;
