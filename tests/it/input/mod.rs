//! Bad input through the whole service: the status, every fault at once with its place, and nothing stored. One file for
//! each group of the contract's table.

mod access;
mod cors;
mod examples;
mod form;
mod fuzz;
mod generated;
mod limits;
mod log;
mod lost_commits;
mod meaning;
mod no_body;
mod outage;
mod paths_and_methods;
mod wire;
