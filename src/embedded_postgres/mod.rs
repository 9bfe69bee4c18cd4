//! A private Postgres under a data folder: found, initialised, started, stopped.
