//! The real binary as a process of its own on a test's database, under conditions that a process in this one can't have:
//! few file descriptors, a log that is not read, all of its log from its first line to its last.

mod descriptors;
mod google;
mod log;
mod proxies;
mod reloads;
mod secrets;
