//! Figures about the whole database, which the leader reads for operators: what waits, what is late, what grows. Used by
//! maintenance.
//!
//! Each statement reads a bounded number of rows, however much waits. What is too much to be counted is estimated.

mod database;
mod fan_outs;
mod lanes;
mod sizes;
mod waiting;

pub use database::{DatabaseState, database};
pub use fan_outs::{FanOutFigures, fan_outs};
pub use lanes::{FiguredLane, lanes, store};
pub use sizes::{DeviceCount, TableSize, devices, tables};
pub use waiting::{WaitingFigures, count_waiting, estimate_waiting, waiting};
