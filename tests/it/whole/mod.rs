//! The whole path: HTTP in, the simulator's TLS and HTTP/2 out, a real Postgres between; one file for each idea.

mod admin;
mod brake;
mod broadcast;
mod credentials;
mod environment;
mod example;
mod faults;
mod forward_proxy;
mod lanes;
mod meanwhile;
mod nodes;
mod order;
mod outages;
mod overrides;
mod pages;
mod payloads;
mod poison;
mod pruning;
mod reach;
mod rejections;
mod restart;
mod retention;
mod settings;
mod silence;
pub(crate) mod stage;
mod throttles;
mod time;
