//! The whole path: HTTP in, the simulator's TLS and HTTP/2 out, a real Postgres between; one file for each idea.

mod credentials;
mod example;
mod faults;
mod lanes;
mod meanwhile;
mod nodes;
mod order;
mod pages;
mod pruning;
mod rejections;
mod restart;
mod stage;
mod time;
