//! Postgres sessions that die in silence, turn read-only, or are dropped in the middle of a statement.

mod deadlines;
mod hosts;
mod settings;
mod silent_service;
