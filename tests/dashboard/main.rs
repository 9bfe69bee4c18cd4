//! The dashboard's pages in Chromium, against real nodes: an operator's work by mouse and by keyboard alone, every page by the rules of
//! axe in both schemes, and what a `read` session does not show. `scripts/ensure-chromium` and `scripts/ensure-npm` install what is
//! needed.
//!
//! A binary of its own, because `thirtyfour` lets other types be added to a `String`, which would leave `text + &other` ambiguous in all tests.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accessible;
mod address;
mod browser;
mod incidents;
mod operator;
mod plain;
mod screenshots;
mod shop;

use browser::{Browser, Hand};
