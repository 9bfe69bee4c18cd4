//! The `pushpost` binary.

fn main() {}
