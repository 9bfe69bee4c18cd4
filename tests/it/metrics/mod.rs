//! `GET /metrics` and the figures behind it: which clients may read it, what it counts under load and against what is on
//! record, and that it never waits for Postgres.

mod access;
mod counts;
mod deliveries;
mod figures;
mod format;
mod lanes;
mod leadership;
mod names;
mod outage;
