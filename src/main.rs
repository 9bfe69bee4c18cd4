//! The `pushpost` binary: decides nothing, so that all of it can be tested in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    pushpost::cli::main(std::env::args_os())
}
