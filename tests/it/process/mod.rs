//! The real binary as a child process on a test's database, under conditions that this process can't have: few file
//! descriptors, a log that is not read, the whole log from first line to last.

mod backup;
mod clock;
mod commands;
mod config_check;
mod descriptors;
mod doctor;
mod every_command;
mod google;
mod keys;
mod log;
mod log_lines;
mod nodes;
mod proxies;
mod publishable_key;
mod queue;
mod reloads;
mod secrets;
mod send;
mod upgrade;
mod why;
