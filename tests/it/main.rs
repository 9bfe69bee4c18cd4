//! Integration tests: the whole service against a real Postgres and the simulator.
