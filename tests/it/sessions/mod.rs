//! Sessions of Postgres that die in silence, turn read-only, or are given back in the middle of something.

mod deadlines;
mod hosts;
mod settings;
mod silent_service;
